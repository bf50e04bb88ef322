-- How an order ends, and what goes back to the sale with it.
--
-- Locks: the sale's row, then the order rows. The state guard is repeated where the state is written: a sub-select with
-- `skip locked` may have chosen a row that has changed since (A13).

-- Ends RESERVED orders of one sale, whose row the caller has locked: units, allowance, log and release rows in the
-- caller's transaction. Orders that are no longer RESERVED, or that have an open payment, are left out.
-- Returns the orders that were ended.
create function close_orders(
    p_sale_id uuid, p_order_ids uuid[], p_status text, p_by text, p_reason text, p_at timestamptz
) returns setof uuid language plpgsql as $$
declare
    v_ids uuid[];
    v_quantities integer[];
    v_users text[];
begin
    with closed as (
        update sale_orders o
        set status = p_status, closed_at = p_at, closed_by = p_by, close_reason = p_reason
        where o.order_id = any(p_order_ids) and o.sale_id = p_sale_id
            and o.status = 'RESERVED'  -- I13 A13
            and not exists (select from open_payments p where p.order_id = o.order_id)  -- I7
        returning o.order_id, o.quantity, o.user_id
    )
    select array_agg(order_id order by order_id), array_agg(quantity order by order_id),
        array_agg(user_id order by order_id)
    into v_ids, v_quantities, v_users
    from closed;
    if v_ids is not null then
        perform give_back(p_sale_id, v_ids, v_users, v_quantities, lower(p_status), p_at, false);
    end if;
    return query select unnest(v_ids);
end
$$;

-- Units of orders that own them no longer, back to the sale: count, allowance, log, release row. The caller has locked
-- the sale's row and written the orders. `p_paid`: the units were bought, not only held.
create function give_back(
    p_sale_id uuid, p_order_ids uuid[], p_users text[], p_quantities integer[], p_kind text, p_at timestamptz,
    p_paid boolean
) returns void language plpgsql as $$
declare
    v_sale flash_sales;
    v_units integer := (select sum(q) from unnest(p_quantities) q);
    v_log record;
begin
    select * into strict v_sale from flash_sales where sale_id = p_sale_id for no key update;

    update user_sale_eligibility e
    set quantity_purchased = e.quantity_purchased - given.units
    from (
        select user_id, sum(quantity) as units
        from unnest(p_users, p_quantities) as g (user_id, quantity)
        group by user_id
    ) given
    where e.sale_id = p_sale_id and e.user_id = given.user_id;

    select * into v_log from append_log(v_sale, p_kind, p_order_ids, p_quantities, v_sale.epoch, p_at);

    insert into sale_releases (sale_id, hold_id, user_id, epoch, forget_key, created_at)
    select p_sale_id, id, user_id, v_sale.epoch, false, p_at
    from unnest(p_order_ids, p_users) as g (id, user_id);

    update flash_sales set
        quantity_sold = quantity_sold - v_units,
        quantity_paid = quantity_paid - case when p_paid then v_units else 0 end,
        -- The clock ends a sale; a unit that comes back after the end changes nothing but the counts.
        status = case when status = 'SOLD_OUT' then 'ACTIVE' else status end,
        log_head = v_log.head,
        log_size = v_log.size,
        updated_at = p_at
    where sale_id = p_sale_id;
end
$$;

-- R8 for one sale. Two at once are safe: the second waits for the sale's row and finds nothing due.
create function expire_sale(p_sale_id uuid, p_limit integer) returns integer language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz;
    v_ids uuid[];
begin
    perform from flash_sales where sale_id = p_sale_id for no key update;
    v_now := clock_timestamp();
    select array_agg(order_id) into v_ids
    from (
        select o.order_id
        from sale_orders o
        where o.sale_id = p_sale_id and o.status = 'RESERVED' and o.expires_at <= v_now  -- I11
            and not exists (select from open_payments p where p.order_id = o.order_id)
        order by o.expires_at
        limit p_limit
        for update skip locked
    ) due;
    -- A new statement, so a new snapshot: a payment that was begun before we had the lock is seen now.
    return (
        select count(*)
        from close_orders(p_sale_id, v_ids, 'EXPIRED', 'expirer', 'the hold ran out', clock_ms())
    );
end
$$;

-- RESERVED to CANCELLED. Answers `ok` with the order (also when it was cancelled before), or why not.
create function cancel_order(p_order_id uuid, p_user_id text, p_by text, p_reason text)
returns table (word text, shown order_view) language plpgsql as $$
declare
    v_order sale_orders;
begin
    select * into v_order from sale_orders where order_id = p_order_id;
    if found then
        perform from flash_sales where sale_id = v_order.sale_id for no key update;
        select * into v_order from sale_orders where order_id = p_order_id for update;
    end if;
    word := case
        when v_order.order_id is null or v_order.user_id <> p_user_id then 'not_found'
        when v_order.status = 'CANCELLED' then 'ok'
        when v_order.status <> 'RESERVED' then 'order_closed'
        when exists (select from open_payments p where p.order_id = p_order_id) then 'payment_open'
    end;
    if word is null then
        perform close_orders(v_order.sale_id, array[p_order_id], 'CANCELLED', p_by, p_reason, clock_ms());
        word := 'ok';
    end if;
    return query select word, o from (select) one left join order_view o on word <> 'not_found' and o.order_id = p_order_id;
end
$$;

-- Up to `p_limit` RESERVED orders of an aborted sale. Orders with an open payment are left to the payment's end.
create function cancel_reserved(p_sale_id uuid, p_by text, p_reason text, p_limit integer) returns integer
language plpgsql as $$
begin
    perform from flash_sales where sale_id = p_sale_id and status = 'CANCELLED' for no key update;
    if not found then
        return 0;
    end if;
    return (
        select count(*)
        from close_orders(
            p_sale_id,
            array(
                select o.order_id
                from sale_orders o
                where o.sale_id = p_sale_id and o.status = 'RESERVED'
                    and not exists (select from open_payments p where p.order_id = o.order_id)
                order by o.order_id
                limit p_limit
                for update
            ),
            'CANCELLED', p_by, p_reason, clock_ms()
        )
    );
end
$$;

-- R7: holds that never became orders become dead ones, and with each goes the release of its units in Valkey.
-- No stock changes here, so the log says nothing. Returns the ids that had an order already.
create function tombstone_holds(
    p_sale_id uuid, p_ids uuid[], p_users text[], p_quantities integer[], p_since_ms bigint[]
) returns setof uuid language plpgsql as $$
declare
    v_sale flash_sales;
    v_dead uuid[];
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return;
    end if;
    with dead as (
        insert into sale_orders (
            order_id, sale_id, user_id, quantity, amount_cents, currency, status,
            reserved_at, expires_at, idempotency_key, closed_at, closed_by, close_reason
        )
        select
            id, p_sale_id, user_id, quantity, quantity * v_sale.price_cents, v_sale.currency, 'CANCELLED',
            at_ms(since_ms), at_ms(since_ms), null, clock_ms(), 'orphan sweep', 'taken and never committed'
        from unnest(p_ids, p_users, p_quantities, p_since_ms) as h (id, user_id, quantity, since_ms)
        on conflict (order_id) do nothing  -- I12: whoever is first, the order or the tombstone, is the only one
        returning order_id
    )
    select coalesce(array_agg(order_id), '{}') into v_dead from dead;

    insert into sale_releases (sale_id, hold_id, user_id, epoch, forget_key, created_at)
    select distinct on (id) p_sale_id, id, user_id, v_sale.epoch, true, clock_ms()
    from unnest(p_ids, p_users) as h (id, user_id)
    where id = any(v_dead);

    return query select id from unnest(p_ids) as id where id <> all(v_dead);
end
$$;

-- Units of a paid order back on sale, for the transaction that stores the refund. The order stays PAID: the refund is
-- a state of its payment. False if they went back before.
create function return_order(p_order_id uuid) returns boolean language plpgsql as $$
declare
    v_order sale_orders;
    v_now timestamptz;
begin
    perform from flash_sales s
    where s.sale_id = (select o.sale_id from sale_orders o where o.order_id = p_order_id)
    for no key update;
    v_now := clock_ms();
    update sale_orders set returned_at = v_now
    where order_id = p_order_id and status = 'PAID' and returned_at is null
    returning * into v_order;
    if not found then
        return false;
    end if;
    perform give_back(
        v_order.sale_id, array[p_order_id], array[v_order.user_id], array[v_order.quantity], 'refunded', v_now, true
    );
    return true;
end
$$;
