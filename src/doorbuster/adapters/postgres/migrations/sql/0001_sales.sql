-- What an operator and the clock do to a sale. Locks: the sale's row, first and alone.

create function note_action(p_sale_id uuid, p_action text, p_by text, p_reason text, p_detail jsonb)
returns void language sql
begin atomic
    insert into sale_actions (sale_id, action, actor, reason, detail, at)
    values (p_sale_id, p_action, p_by, p_reason, p_detail, clock_ms());
end;

-- The part of a sale an operator decides, in the names of SaleTerms.
create function terms_of(p_sale flash_sales) returns jsonb language sql stable
return jsonb_build_object(
    'product_id', p_sale.product_id, 'title', p_sale.title, 'quantity_available', p_sale.quantity_available,
    'price_cents', p_sale.price_cents, 'currency', p_sale.currency,
    'start_ms', ms(p_sale.start_time), 'end_ms', ms(p_sale.end_time),
    'mode', p_sale.mode, 'payment_mode', p_sale.payment_mode, 'per_user_limit', p_sale.per_user_limit,
    'checkout_ttl_seconds', p_sale.checkout_ttl_seconds, 'payment_attempts', p_sale.payment_attempts
);

-- A sale with these terms; the one that is there if it was created before with the same id.
create function create_sale(p_sale_id uuid, p_terms jsonb, p_by text, p_reason text, p_now timestamptz)
returns setof sale_view language plpgsql as $$
declare
    v_now timestamptz := coalesce(p_now, clock_ms());
    v_sale flash_sales;
    v_log record;
begin
    insert into flash_sales (
        sale_id, product_id, title, quantity_available, price_cents, currency, start_time, end_time, mode,
        payment_mode, per_user_limit, checkout_ttl_seconds, payment_attempts, log_head, created_at, updated_at
    )
    select
        p_sale_id, t.product_id, t.title, t.quantity_available, t.price_cents, t.currency,
        at_ms(t.start_ms), at_ms(t.end_ms), t.mode, t.payment_mode, t.per_user_limit, t.checkout_ttl_seconds,
        t.payment_attempts, sha256(convert_to(p_sale_id::text, 'UTF8')), v_now, v_now
    from jsonb_to_record(p_terms) as t (
        product_id text, title text, quantity_available integer, price_cents bigint, currency text,
        start_ms bigint, end_ms bigint, mode text, payment_mode text, per_user_limit integer,
        checkout_ttl_seconds integer, payment_attempts integer
    )
    on conflict (sale_id) do nothing
    returning * into v_sale;
    if found then
        select * into v_log
        from append_log(v_sale, 'created', array[null::uuid], array[v_sale.quantity_available], 0, v_now);
        update flash_sales set log_head = v_log.head, log_size = v_log.size where sale_id = p_sale_id;
        perform note_action(p_sale_id, 'create', p_by, p_reason, p_terms);
    end if;
    return query select * from sale_view s where s.sale_id = p_sale_id;
end
$$;

-- Brings the stored status after the clock. The caller has locked the row.
create function status_by_clock(p_sale flash_sales, p_now timestamptz) returns text language sql stable
return case
    when p_sale.status in ('ENDED', 'CANCELLED') then p_sale.status
    when p_now >= p_sale.end_time then 'ENDED'
    when p_sale.status = 'SCHEDULED' and p_now >= p_sale.start_time then 'ACTIVE'
    else p_sale.status
end;

create function follow_clock() returns setof sale_view language plpgsql as $$
declare
    v_sale flash_sales;
    v_status text;
begin
    for v_sale in
        select * from flash_sales s
        where s.status not in ('ENDED', 'CANCELLED') and status_by_clock(s, clock_timestamp()) <> s.status
        order by s.sale_id
        for no key update
    loop
        v_status := status_by_clock(v_sale, clock_timestamp());
        continue when v_status = v_sale.status;  -- somebody was first
        update flash_sales set status = v_status, updated_at = clock_ms() where sale_id = v_sale.sale_id;
        perform note_action(
            v_sale.sale_id, 'move', 'clock', '', jsonb_build_object('from', v_sale.status, 'to', v_status)
        );
        return query select * from sale_view s where s.sale_id = v_sale.sale_id;
    end loop;
end
$$;

-- Along an arrow; `p_from` are the statuses that have one to `p_to`. Answers `ok` with the row, or why not.
create function move_sale(p_sale_id uuid, p_to text, p_from text[], p_start_now boolean, p_by text, p_reason text)
returns table (word text, detail text, shown sale_view) language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz;
    v_status text;
    v_to text := p_to;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return query select 'not_found', '', null::sale_view;
        return;
    end if;
    v_now := clock_ms();
    v_status := status_by_clock(v_sale, v_now);
    if v_to in ('ACTIVE', 'SOLD_OUT') then
        -- Which of the two it is, is decided by the stock (I14).
        v_to := case when v_sale.quantity_sold = v_sale.quantity_available then 'SOLD_OUT' else 'ACTIVE' end;
    end if;
    if p_to = 'SOLD_OUT' and v_to <> p_to then
        return query select 'conflict', 'units are free', s from sale_view s where s.sale_id = p_sale_id;
        return;
    end if;
    if v_status <> v_to and not (v_status = any(p_from)) then
        return query
        select 'conflict', format('the sale is %s; from there it cannot become %s', v_status, p_to), s
        from sale_view s where s.sale_id = p_sale_id;  -- I13
        return;
    end if;
    if v_sale.status <> v_to or (p_start_now and v_now < v_sale.start_time) then
        update flash_sales set
            status = v_to,
            start_time = case when p_start_now then least(start_time, v_now) else start_time end,
            updated_at = v_now
        where sale_id = p_sale_id;
        perform note_action(
            p_sale_id, 'move', p_by, p_reason, jsonb_build_object('from', v_sale.status, 'to', v_to)
        );
    end if;
    return query select 'ok', '', s from sale_view s where s.sale_id = p_sale_id;
end
$$;

-- New terms in place of those the caller decided on. A sale that sells counts as one status: the last unit sold or
-- come back meanwhile is no reason to refuse.
create function change_sale(
    p_sale_id uuid, p_terms jsonb, p_expected jsonb, p_expected_status text, p_by text, p_reason text
) returns table (word text, detail text, shown sale_view) language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz;
    v_available integer := (p_terms ->> 'quantity_available')::integer;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return query select 'not_found', '', null::sale_view;
        return;
    end if;
    v_now := clock_ms();
    detail := case
        when v_sale.status in ('ENDED', 'CANCELLED') then format('the sale is %s', v_sale.status)
        when terms_of(v_sale) <> p_expected
            or replace(v_sale.status, 'SOLD_OUT', 'ACTIVE') <> replace(p_expected_status, 'SOLD_OUT', 'ACTIVE')
            then 'the sale was changed meanwhile; read it and decide again'
        when v_available < v_sale.quantity_sold
            then format('%s units are reserved or paid; %s cannot be all there is', v_sale.quantity_sold, v_available)
    end;
    if detail is not null then
        return query select 'conflict', detail, s from sale_view s where s.sale_id = p_sale_id;
        return;
    end if;
    if v_available <> v_sale.quantity_available then
        select l.head, l.size into v_sale.log_head, v_sale.log_size
        from append_log(
            v_sale, 'stock', array[null::uuid], array[v_available - v_sale.quantity_available], v_sale.epoch, v_now
        ) l;
    end if;
    update flash_sales s set
        product_id = t.product_id, title = t.title, quantity_available = t.quantity_available,
        price_cents = t.price_cents, currency = t.currency, start_time = at_ms(t.start_ms), end_time = at_ms(t.end_ms),
        mode = t.mode, payment_mode = t.payment_mode, per_user_limit = t.per_user_limit,
        checkout_ttl_seconds = t.checkout_ttl_seconds, payment_attempts = t.payment_attempts,
        status = case
            when s.status not in ('ACTIVE', 'SOLD_OUT') then s.status
            when s.quantity_sold = t.quantity_available then 'SOLD_OUT'
            else 'ACTIVE'
        end,
        log_head = v_sale.log_head, log_size = v_sale.log_size, updated_at = v_now
    from jsonb_to_record(p_terms) as t (
        product_id text, title text, quantity_available integer, price_cents bigint, currency text,
        start_ms bigint, end_ms bigint, mode text, payment_mode text, per_user_limit integer,
        checkout_ttl_seconds integer, payment_attempts integer
    )
    where s.sale_id = p_sale_id and s.quantity_sold <= t.quantity_available;  -- I1
    perform note_action(p_sale_id, 'change', p_by, p_reason, p_terms);
    return query select 'ok', '', s from sale_view s where s.sale_id = p_sale_id;
end
$$;

-- R9a, as a compare-and-set: null if somebody raised it first. Releases that wait are dropped: an image is written
-- from what is read after this, and there the units they speak of are free already (A6).
create function raise_epoch(p_sale_id uuid, p_seen bigint, p_reason text) returns bigint language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz;
    v_log record;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found or v_sale.epoch <> p_seen then
        return null;
    end if;
    v_now := clock_ms();
    select * into v_log
    from append_log(v_sale, 'epoch', array[null::uuid], array[0], p_seen + 1, v_now);
    delete from sale_releases where sale_id = p_sale_id;
    update flash_sales
    set epoch = p_seen + 1, tick_seen = 0, image_run_id = '', rebuild_reason = p_reason,
        log_head = v_log.head, log_size = v_log.size, updated_at = v_now
    where sale_id = p_sale_id and epoch = p_seen;  -- I12
    perform note_action(p_sale_id, 'rebuild', 'keeper', p_reason, jsonb_build_object('epoch', p_seen + 1));
    return p_seen + 1;
end
$$;

-- Replaces the block list; null for a sale that is not there.
create function block_users(p_sale_id uuid, p_user_ids text[], p_by text, p_reason text)
returns table (added text[], removed text[]) language plpgsql as $$
begin
    perform from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return;
    end if;
    with gone as (
        delete from sale_blocklist b
        where b.sale_id = p_sale_id and not exists (select from unnest(p_user_ids) w where w = b.user_id)
        returning b.user_id
    )
    select coalesce(array_agg(user_id order by user_id), '{}') into removed from gone;
    with come as (
        insert into sale_blocklist (sale_id, user_id, blocked_at, blocked_by, reason)
        select distinct p_sale_id, w, clock_ms(), p_by, p_reason from unnest(p_user_ids) w
        on conflict do nothing
        returning user_id
    )
    select coalesce(array_agg(user_id order by user_id), '{}') into added from come;
    if cardinality(added) + cardinality(removed) > 0 then
        perform note_action(
            p_sale_id, 'blocklist', p_by, p_reason,
            jsonb_build_object('added', cardinality(added), 'removed', cardinality(removed))
        );
    end if;
    return next;
end
$$;
