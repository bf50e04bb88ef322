-- The terms of a sale with what is done about holds that run out. New columns stand last in a view.

create or replace view sale_view as
select
    s.sale_id, s.product_id, s.title, s.quantity_available, s.price_cents, s.currency,
    ms(s.start_time) as start_ms, ms(s.end_time) as end_ms,
    s.mode, s.payment_mode, s.per_user_limit, s.checkout_ttl_seconds, s.payment_attempts,
    s.status, s.quantity_sold, s.quantity_paid, s.epoch, s.tick_seen, s.image_run_id, s.rebuild_reason,
    s.log_size, s.log_head, ms(s.created_at) as created_ms, ms(s.updated_at) as updated_ms,
    s.standby_limit, s.claim_window_seconds, ms(s.entry_opens_at) as entry_opens_ms, s.beacon_round,
    s.number_high, s.granted_mark, s.ended_number, s.draw_size, ms(s.drawn_at) as drawn_ms,
    s.max_lapsed_holds
from flash_sales s;

-- The part of a sale an operator decides, in the names of SaleTerms.
create or replace function terms_of(p_sale flash_sales) returns jsonb language sql stable
return jsonb_build_object(
    'product_id', p_sale.product_id, 'title', p_sale.title, 'quantity_available', p_sale.quantity_available,
    'price_cents', p_sale.price_cents, 'currency', p_sale.currency,
    'start_ms', ms(p_sale.start_time), 'end_ms', ms(p_sale.end_time),
    'mode', p_sale.mode, 'payment_mode', p_sale.payment_mode, 'per_user_limit', p_sale.per_user_limit,
    'checkout_ttl_seconds', p_sale.checkout_ttl_seconds, 'payment_attempts', p_sale.payment_attempts,
    'standby_limit', p_sale.standby_limit, 'claim_window_seconds', p_sale.claim_window_seconds,
    'entry_opens_ms', ms(p_sale.entry_opens_at), 'beacon_round', p_sale.beacon_round,
    'max_lapsed_holds', p_sale.max_lapsed_holds
);

-- A sale with these terms; the one that is there if it was created before with the same id.
create or replace function create_sale(p_sale_id uuid, p_terms jsonb, p_by text, p_reason text, p_now timestamptz)
returns setof sale_view language plpgsql as $$
declare
    v_now timestamptz := coalesce(p_now, clock_ms());
    v_sale flash_sales;
    v_log record;
begin
    insert into flash_sales (
        sale_id, product_id, title, quantity_available, price_cents, currency, start_time, end_time, mode,
        payment_mode, per_user_limit, checkout_ttl_seconds, payment_attempts, standby_limit, claim_window_seconds,
        entry_opens_at, beacon_round, max_lapsed_holds, log_head, created_at, updated_at
    )
    select
        p_sale_id, t.product_id, t.title, t.quantity_available, t.price_cents, t.currency,
        at_ms(t.start_ms), at_ms(t.end_ms), t.mode, t.payment_mode, t.per_user_limit, t.checkout_ttl_seconds,
        t.payment_attempts, t.standby_limit, t.claim_window_seconds, at_ms(t.entry_opens_ms), t.beacon_round, t.max_lapsed_holds,
        sha256(convert_to(p_sale_id::text, 'UTF8')), v_now, v_now
    from jsonb_to_record(p_terms) as t (
        product_id text, title text, quantity_available integer, price_cents bigint, currency text,
        start_ms bigint, end_ms bigint, mode text, payment_mode text, per_user_limit integer,
        checkout_ttl_seconds integer, payment_attempts integer, standby_limit integer, claim_window_seconds integer,
        entry_opens_ms bigint, beacon_round bigint, max_lapsed_holds integer
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

-- New terms in place of those the caller decided on. A sale that sells counts as one status: the last unit sold or
-- come back meanwhile is no reason to refuse.
create or replace function change_sale(
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
        standby_limit = t.standby_limit, claim_window_seconds = t.claim_window_seconds,
        entry_opens_at = at_ms(t.entry_opens_ms), beacon_round = t.beacon_round,
        max_lapsed_holds = t.max_lapsed_holds,
        status = case
            when s.status not in ('ACTIVE', 'SOLD_OUT') then s.status
            when s.quantity_sold = t.quantity_available then 'SOLD_OUT'
            else 'ACTIVE'
        end,
        log_head = v_sale.log_head, log_size = v_sale.log_size, updated_at = v_now
    from jsonb_to_record(p_terms) as t (
        product_id text, title text, quantity_available integer, price_cents bigint, currency text,
        start_ms bigint, end_ms bigint, mode text, payment_mode text, per_user_limit integer,
        checkout_ttl_seconds integer, payment_attempts integer, standby_limit integer, claim_window_seconds integer,
        entry_opens_ms bigint, beacon_round bigint, max_lapsed_holds integer
    )
    where s.sale_id = p_sale_id and s.quantity_sold <= t.quantity_available;  -- I1
    perform note_action(p_sale_id, 'change', p_by, p_reason, p_terms);
    return query select 'ok', '', s from sale_view s where s.sale_id = p_sale_id;
end
$$;
