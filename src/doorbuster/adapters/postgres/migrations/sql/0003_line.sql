-- What a line asks of the ledger. Locks: the sale's row, first, wherever a mark or stock changes.

-- Who waits in the line of a draw that was held, and at which number; the tables of draws come with 0004.
create function drawn_line(p_sale_id uuid) returns table (user_id text, number bigint) language sql stable as $$
    select null::text, null::bigint where false
$$;

-- How many have entered a draw whose list is open; 0 for every other sale.
create function open_entries(p_sale_id uuid) returns bigint language sql stable as $$
    select 0::bigint
$$;

-- Q2: the mark before and after. On disk before anybody is told: a number above it may be issued from then on.
-- No row if the epoch has moved on, or if this is a draw whose list is open.
create function reserve_numbers(p_sale_id uuid, p_count bigint, p_epoch bigint)
returns table (before bigint, after bigint) language plpgsql as $$
begin
    perform make_it_last();
    return query
    update flash_sales s set number_high = s.number_high + greatest(p_count, 0), updated_at = clock_ms()
    where s.sale_id = p_sale_id and s.epoch = p_epoch  -- I12
        and (s.mode <> 'draw' or s.draw_size is not null)
    returning s.number_high - greatest(p_count, 0), s.number_high;
end
$$;

create function note_left(p_sale_id uuid, p_user_id text, p_number bigint) returns void language plpgsql as $$
begin
    perform make_it_last();
    insert into sale_line_left as l (sale_id, user_id, number, left_at)
    select s.sale_id, p_user_id, p_number, clock_ms()
    from flash_sales s
    where s.sale_id = p_sale_id and p_number > 0
    on conflict (sale_id, user_id) do update
    set number = excluded.number, left_at = excluded.left_at
    where l.number < excluded.number;  -- I10
end
$$;

-- Q6: null if units may still come back. Over is said by the stored status: until that has followed the clock, the end
-- of the sale may still be moved. Every unit paid for is looked at under the lock a refund has to take.
create function end_line(p_sale_id uuid) returns bigint language plpgsql as $$
declare
    v_sale flash_sales;
begin
    perform make_it_last();
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found
        or v_sale.quantity_paid < v_sale.quantity_available
        and v_sale.status not in ('ENDED', 'CANCELLED') then
        return null;
    end if;
    if v_sale.ended_number < v_sale.number_high then
        update flash_sales set ended_number = number_high, updated_at = clock_ms() where sale_id = p_sale_id;
    end if;
    return v_sale.number_high;
end
$$;

-- The buyers of these orders have been seen. The rows are locked without their sales': no stock changes, and a sweep
-- passes over a row that is being claimed, or has ended the order before and is found to have (I11).
create function claim_orders(p_order_ids uuid[]) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
begin
    perform make_it_last();
    perform from sale_orders
    where order_id = any(p_order_ids) and status = 'RESERVED' and claimed_at is null
    order by order_id
    for no key update;
    update sale_orders set claimed_at = clock_ms()
    where order_id = any(p_order_ids) and status = 'RESERVED' and claimed_at is null;
end
$$;

-- As `expire_sale`, for grants whose buyer was not seen within the claim window: they were shown no end (I11).
create function expire_unclaimed(p_sale_id uuid, p_limit integer) returns integer language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_before timestamptz;
    v_ids uuid[];
begin
    select clock_ms() - make_interval(secs => claim_window_seconds) into v_before
    from flash_sales where sale_id = p_sale_id for no key update;
    if v_before is null then
        return 0;
    end if;
    select array_agg(order_id) into v_ids
    from (
        select o.order_id
        from sale_orders o
        where o.sale_id = p_sale_id and o.status = 'RESERVED' and o.line_number is not null
            and o.claimed_at is null and o.reserved_at <= v_before
            and not exists (select from open_payments p where p.order_id = o.order_id)
        order by o.reserved_at
        limit p_limit
        for update skip locked  -- a row that stays locked here cannot be claimed any more
    ) due;
    -- A new statement, so a new snapshot: a payment that was begun before we had the lock is seen now.
    return (
        select count(*)
        from close_orders(p_sale_id, v_ids, 'EXPIRED', 'expirer', 'the buyer did not come', clock_ms())
    );
end
$$;

-- The first key that seals tickets. Whoever comes first makes it, everybody has the same. A random id is 122 bits from
-- the system's own source; three of them are more than the 256 that are kept.
create function make_sealing_key() returns void language plpgsql as $$
begin
    perform make_it_last();
    insert into sealing_keys (key_id, secret, made_at)
    select
        'k1',
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
        clock_ms()
    where not exists (select from sealing_keys)
    on conflict do nothing;
end
$$;
