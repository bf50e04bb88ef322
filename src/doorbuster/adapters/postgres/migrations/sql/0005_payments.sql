-- What ends a payment for good, and with it an order; refunds; what a gateway says late (P7 to P10).

-- P1, as in 0002, for sales whose buyers pay and for sales that charge by themselves.
create or replace function begin_payments(
    p_gateway text, p_rows_max integer,
    p_ids uuid[], p_order_ids uuid[], p_users text[], p_methods text[], p_keys text[], p_digests text[]
) returns table (word text, attempts integer, shown attempt_view)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_words text[];
    v_attempts integer[];
    v_owners uuid[];
    v_free record;
begin
    perform make_it_last();
    perform from flash_sales
    where sale_id in (select o.sale_id from sale_orders o where o.order_id = any(p_order_ids))
    order by sale_id
    for no key update;

    with decided as materialized (
        select
            a.n, a.id, a.method, a.key, a.digest, o.order_id, o.sale_id, o.amount_cents, o.currency,
            s.payment_attempts, past.number + 1 as attempt,
            coalesce(same.payment_id, past.open_id, a.id) as owner,
            case
                when o.order_id is null then 'not_found'
                when same.body_digest <> a.digest then 'mismatch'  -- I5
                when same.payment_id is not null then 'replayed'
                when o.status <> 'RESERVED' then 'closed'
                when past.open_id is not null then 'busy'  -- I8
                when s.status = 'CANCELLED' then 'aborted'
                when o.expires_at <= clock_ms() then 'expired'  -- I11
                when s.payment_mode = 'external' then 'elsewhere'
                when past.declined >= s.payment_attempts or past.number >= p_rows_max then 'used_up'
                when o.amount_cents = 0 then 'free'
                else 'begun'
            end as word
        from unnest(p_ids, p_order_ids, p_users, p_methods, p_keys, p_digests)
            with ordinality as a (id, order_id, user_id, method, key, digest, n)
        left join sale_orders o on o.order_id = a.order_id and o.user_id = a.user_id
        left join flash_sales s on s.sale_id = o.sale_id
        left join payments same on same.order_id = o.order_id and same.idempotency_key = a.key
        left join lateral (
            select
                count(*)::integer as number,
                count(*) filter (where p.state = 'DECLINED') as declined,
                (array_agg(p.payment_id) filter (
                    where p.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING')
                ))[1] as open_id
            from payments p
            where p.order_id = o.order_id
        ) past on true
    ), made as (
        insert into payments (
            payment_id, order_id, sale_id, attempt, gateway, payment_method, state, amount_cents, currency,
            idempotency_key, body_digest, gateway_key, created_at, updated_at
        )
        select
            d.id, d.order_id, d.sale_id, d.attempt, case d.word when 'free' then 'none' else p_gateway end, d.method,
            case d.word when 'free' then 'CAPTURED' else 'INTENT' end, d.amount_cents, d.currency, d.key, d.digest,
            gateway_key(d.sale_id, d.order_id, d.attempt, 'authorize', d.amount_cents, d.currency),  -- I9
            clock_ms(), clock_ms()
        from decided d
        where d.word in ('begun', 'free')
    )
    select array_agg(d.word order by n), array_agg(d.payment_attempts order by n), array_agg(d.owner order by n)
    into v_words, v_attempts, v_owners
    from decided d;

    for v_free in
        select p.sale_id, array_agg(p.order_id) as order_ids
        from unnest(v_words, v_owners) as d (word, owner)
        join payments p on p.payment_id = d.owner
        where d.word = 'free'
        group by p.sale_id
    loop
        perform pay_orders(v_free.sale_id, v_free.order_ids);
    end loop;

    return query
    select a.word, a.attempts, t
    from unnest(v_words, v_attempts, v_owners) with ordinality as a (word, attempts, owner, n)
    left join attempt_view t on t.attempt_id = a.owner
    order by a.n;
end
$$;

-- SENT to DECLINED, each with its reason. The last attempt a buyer has, and any of a sale that charges by itself, ends the
-- order: its unit goes to the next in line at once.
create or replace function decline_payments(p_ids uuid[], p_reasons text[]) returns setof attempt_view
language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_sale record;
begin
    perform lock_sales_and_payments(p_ids);
    update payments p set state = 'DECLINED', decline_reason = d.reason, updated_at = clock_ms()
    from unnest(p_ids, p_reasons) as d (id, reason)
    where p.payment_id = d.id and p.state = 'SENT';
    for v_sale in
        select o.sale_id, array_agg(distinct o.order_id) as order_ids
        from payments p
        join sale_orders o on o.order_id = p.order_id and o.status = 'RESERVED'
        join flash_sales s on s.sale_id = o.sale_id
        where p.payment_id = any(p_ids) and p.state = 'DECLINED'
            and (s.payment_mode = 'auto' or s.payment_attempts <= (
                select count(*) from payments q where q.order_id = o.order_id and q.state = 'DECLINED'
            ))
        group by o.sale_id
        order by o.sale_id
    loop
        perform close_orders(
            v_sale.sale_id, v_sale.order_ids, 'CANCELLED', 'payment', 'the payment was declined', clock_ms()
        );
    end loop;
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- Captured money of a paid order on its way back, and its units with it, in one transaction (I7). The caller has locked
-- the sale's row. What no gateway took is given back at once: nothing was paid, or somebody else was paid.
create function refund_paid_orders(p_sale_id uuid, p_order_ids uuid[], p_by text, p_reason text)
returns setof uuid language plpgsql as $$
declare
    v_id uuid;
begin
    for v_id in
        update payments
        set state = 'REFUND_DUE', refund_by = p_by, refund_reason = p_reason, updated_at = clock_ms()
        where order_id = any(p_order_ids) and sale_id = p_sale_id and state = 'CAPTURED'
            and exists (select from sale_orders o where o.order_id = payments.order_id and o.status = 'PAID')
        returning order_id
    loop
        perform return_order(v_id);
        return next v_id;
    end loop;
    update payments set state = 'REFUNDED', updated_at = clock_ms()
    where order_id = any(p_order_ids) and sale_id = p_sale_id and state = 'REFUND_DUE'
        and gateway in ('none', 'external');
end
$$;

-- The operator's refund of one order. Words: refunding (with its attempt, also when it was asked for before), not_found,
-- not_paid.
create function refund_order(p_order_id uuid, p_by text, p_reason text)
returns table (word text, shown attempt_view) language plpgsql as $$
declare
    v_order sale_orders;
    v_id uuid;
begin
    perform make_it_last();
    select * into v_order from sale_orders where order_id = p_order_id and idempotency_key is not null;
    if not found then
        return query select 'not_found'::text, null::attempt_view;
        return;
    end if;
    perform from flash_sales where sale_id = v_order.sale_id for no key update;
    if exists (select from refund_paid_orders(v_order.sale_id, array[p_order_id], p_by, p_reason)) then
        perform note_action(v_order.sale_id, 'refund', p_by, p_reason, jsonb_build_object('order_id', p_order_id));
    end if;
    select payment_id into v_id from payments
    where order_id = p_order_id and state in ('REFUND_DUE', 'REFUNDED')
    order by attempt desc
    limit 1;
    return query
    select case when v_id is null then 'not_paid' else 'refunding' end, a
    from (select) one left join attempt_view a on a.attempt_id = v_id;
end
$$;

-- Refunds of an aborted sale, up to `p_limit` orders at a time.
create function refund_aborted(p_sale_id uuid, p_by text, p_reason text, p_limit integer) returns integer
language plpgsql as $$
begin
    perform make_it_last();
    perform from flash_sales where sale_id = p_sale_id and status = 'CANCELLED' for no key update;
    if not found then
        return 0;
    end if;
    return (
        select count(*)
        from refund_paid_orders(
            p_sale_id,
            array(
                select o.order_id
                from sale_orders o
                where o.sale_id = p_sale_id and o.status = 'PAID' and o.returned_at is null
                    and exists (select from payments p where p.order_id = o.order_id and p.state = 'CAPTURED')
                order by o.order_id
                limit p_limit
            ),
            p_by, p_reason
        )
    );
end
$$;

-- Orders that want charging: RESERVED, of sales that charge by themselves, without an open attempt, not tried in the last
-- two seconds, and with tries left. `method` is null where no method is stored.
create function due_charges(p_limit integer)
returns table (order_id uuid, user_id text, method text, tries integer) language plpgsql
set enable_seqscan = off set jit = off
as $$
begin
    return query
    select o.order_id, o.user_id, m.payment_method, past.tries
    from flash_sales s
    join sale_orders o on o.sale_id = s.sale_id and o.status = 'RESERVED'
        and o.expires_at > (select clock_timestamp())
    left join buyer_methods m on m.user_id = o.user_id
    cross join lateral (
        select count(*)::integer as tries, max(p.updated_at) as at
        from payments p where p.order_id = o.order_id
    ) past
    where s.payment_mode = 'auto' and s.status <> 'CANCELLED' and s.quantity_sold > s.quantity_paid
        and past.tries < s.payment_attempts
        and (past.at is null or past.at <= clock_timestamp() - interval '2 seconds')
        and not exists (select from open_payments p where p.order_id = o.order_id)
    order by o.expires_at
    limit p_limit;
end
$$;

-- Orders of sales that charge by themselves whose tries are used up: CANCELLED, as if declined.
create function cancel_uncharged(p_limit integer) returns integer language plpgsql as $$
declare
    v_sale record;
    v_count integer := 0;
begin
    for v_sale in
        select s.sale_id, s.payment_attempts from flash_sales s
        where s.payment_mode = 'auto' and s.quantity_sold > s.quantity_paid
        order by s.sale_id
    loop
        perform from flash_sales where sale_id = v_sale.sale_id for no key update;
        v_count := v_count + (
            select count(*)
            from close_orders(
                v_sale.sale_id,
                array(
                    select o.order_id
                    from sale_orders o
                    where o.sale_id = v_sale.sale_id and o.status = 'RESERVED'
                        and v_sale.payment_attempts <= (
                            select count(*) from payments p where p.order_id = o.order_id and p.state = 'VOIDED'
                        )
                    order by o.order_id
                    limit p_limit
                ),
                'CANCELLED', 'payment', 'the payment failed', clock_ms()
            )
        );
    end loop;
    return v_count;
end
$$;

-- Findings of a reconciliation, as a list of Break; the same one again is the same row.
create function note_breaks(p_sale_id uuid, p_gateway text, p_breaks jsonb) returns void language plpgsql as $$
begin
    insert into payment_breaks as b (
        sale_id, gateway, gateway_key, order_id, payment_id, kind, expected, found, found_at, seen_at, repair,
        repaired_at
    )
    select
        p_sale_id, p_gateway, t.key, t.order_id, t.payment_id, t.kind, t.expected, t.found, clock_ms(), clock_ms(),
        t.repair, case when t.repaired then clock_ms() end
    from jsonb_to_recordset(p_breaks) as t (
        key text, order_id text, payment_id uuid, kind text, expected text, found text, repair text, repaired boolean
    )
    on conflict (sale_id, gateway_key, kind) where repaired_at is null do update
    set seen_at = excluded.seen_at, expected = excluded.expected, found = excluded.found, repair = excluded.repair;
    -- What was open and is repaired by this finding: a repaired row does not conflict with the open one.
    update payment_breaks b set repaired_at = clock_ms()
    from jsonb_to_recordset(p_breaks) as t (key text, kind text, repaired boolean)
    where b.sale_id = p_sale_id and b.gateway_key = t.key and b.kind = t.kind and t.repaired and b.repaired_at is null;
end
$$;

-- A whole reconciliation; open breaks that it did not see are gone, however that came about.
create function record_reconciliation(
    p_sale_id uuid, p_gateway text, p_at timestamptz, p_by text, p_reason text, p_verdict text, p_report jsonb,
    p_breaks jsonb
) returns void language plpgsql as $$
begin
    insert into reconciliations (sale_id, gateway, at, actor, reason, verdict, report)
    values (p_sale_id, p_gateway, p_at, p_by, p_reason, p_verdict, p_report);
    perform note_breaks(p_sale_id, p_gateway, p_breaks);
    if p_verdict <> 'unknown' then
        update payment_breaks set repaired_at = clock_ms(), repair = 'gone'
        where sale_id = p_sale_id and repaired_at is null and found_at <= p_at
            and not exists (
                select from jsonb_to_recordset(p_breaks) as t (key text, kind text)
                where t.key = gateway_key and t.kind = payment_breaks.kind
            );
    end if;
end
$$;
