-- Payment attempts: every step of one, and the order that goes with it (P1 to P9).
--
-- Locks, in this order: the rows of the sales concerned, by id; then the payment rows, by id. Order rows are written
-- only with their sale's row held. What makes an attempt open holds the sale's row too: expiry and cancelling look for
-- open attempts under the same lock, so neither can miss one (I7).
-- Every function takes many attempts and answers each with its row as it is afterwards, whoever moved it: a repeat
-- finds the state it wanted, and the guard on the state it starts from keeps it from moving anything twice (I13).

-- A repeat of a request finds its attempt (I5).
create unique index payments_key on payments (order_id, idempotency_key);
-- What somebody has to lead to its end, the longest untouched first.
create index payments_unfinished on payments (updated_at)
    where state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE');

-- The arrows of domain/transitions.py, for a hand-written statement too (I13); a test tries every pair of states. From
-- SENT through AUTHORIZED to CAPTURING is one statement. What is allowed is decided without calling the function.
create trigger payments_arrows before update of state on payments
    for each row when (
        old.state <> new.state
        and old.state || ' ' || new.state not in (
            'INTENT SENT', 'INTENT VOIDED',
            'SENT AUTHORIZED', 'SENT DECLINED', 'SENT VOIDING', 'SENT CAPTURING',
            'AUTHORIZED CAPTURING', 'AUTHORIZED VOIDING',
            'CAPTURING CAPTURED', 'CAPTURING VOIDING',
            'CAPTURED REFUND_DUE',
            'VOIDING VOIDED', 'VOIDING REFUND_DUE',
            'REFUND_DUE REFUNDED'
        )
    )
    execute function refuse_change('there is no such arrow (I13)');

-- An attempt with its order: the columns of order_view and, under names of their own, those of the attempt.
create view attempt_view as
select
    p.payment_id as attempt_id, p.attempt as attempt_number, p.gateway as attempt_gateway,
    p.payment_method as attempt_method, p.state as attempt_state, p.amount_cents as attempt_amount_cents,
    p.currency as attempt_currency, p.idempotency_key as attempt_key, p.body_digest as attempt_digest,
    p.gateway_ref as attempt_ref, p.decline_reason as attempt_reason,
    ms(p.created_at) as attempt_created_ms, ms(p.updated_at) as attempt_updated_ms,
    o.*
from payments p
join order_view o on o.order_id = p.order_id;

-- The rule of `gateway_key` in domain/payment.py; a test holds the two together (I8).
create function gateway_key(
    p_sale_id uuid, p_order_id uuid, p_attempt integer, p_operation text, p_amount_cents bigint, p_currency text
) returns text language sql immutable parallel safe
return encode(
    sha256(
        convert_to(
            p_sale_id || '|' || p_order_id || '|' || p_attempt || '|' || p_operation || '|' || p_amount_cents || '|'
            || p_currency,
            'UTF8'
        )
    ),
    'hex'
);

-- A step that a gateway call rests on has to be on disk before the call, whatever the session was set to.
create function make_it_last() returns void language plpgsql as $$
begin
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
end
$$;

create function lock_payments(p_ids uuid[]) returns void language plpgsql as $$
begin
    perform make_it_last();
    perform from payments where payment_id = any(p_ids) order by payment_id for no key update;
end
$$;

create function lock_sales_and_payments(p_ids uuid[]) returns void language plpgsql as $$
begin
    perform from flash_sales
    where sale_id in (select p.sale_id from payments p where p.payment_id = any(p_ids))
    order by sale_id
    for no key update;
    perform lock_payments(p_ids);
end
$$;

-- RESERVED to PAID for orders of one sale, whose row the caller has locked: count and log with it. Returns those that
-- were RESERVED.
create function pay_orders(p_sale_id uuid, p_order_ids uuid[]) returns setof uuid language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz := clock_ms();
    v_ids uuid[];
    v_quantities integer[];
    v_log record;
begin
    with paid as (
        update sale_orders set status = 'PAID', closed_at = v_now, closed_by = 'payment'
        where order_id = any(p_order_ids) and sale_id = p_sale_id and status = 'RESERVED'  -- I12 I13
        returning order_id, quantity
    )
    select array_agg(order_id order by order_id), array_agg(quantity order by order_id)
    into v_ids, v_quantities
    from paid;
    if v_ids is null then
        return;
    end if;
    select * into strict v_sale from flash_sales where sale_id = p_sale_id for no key update;
    select * into v_log from append_log(v_sale, 'paid', v_ids, v_quantities, v_sale.epoch, v_now);
    update flash_sales
    set quantity_paid = quantity_paid + (select sum(q) from unnest(v_quantities) q),
        log_head = v_log.head, log_size = v_log.size, updated_at = v_now
    where sale_id = p_sale_id;
    return query select unnest(v_ids);
end
$$;

-- P1. Words: BeginWord and NotBegunWord in engine/payment_ports.py, with the number of attempts a buyer has. No two asks of one call are for one
-- order: each sees what the call before has made.
create function begin_payments(
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
                when s.payment_mode <> 'checkout' then 'elsewhere'
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

-- P2: INTENT to SENT.
create function send_payments(p_ids uuid[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments set state = 'SENT', updated_at = clock_ms()
    where payment_id = any(p_ids) and state = 'INTENT';
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- SENT to DECLINED, each with its reason.
create function decline_payments(p_ids uuid[], p_reasons text[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments p set state = 'DECLINED', decline_reason = d.reason, updated_at = clock_ms()
    from unnest(p_ids, p_reasons) as d (id, reason)
    where p.payment_id = d.id and p.state = 'SENT';
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- P4: SENT through AUTHORIZED, each with the gateway's name for it, to CAPTURING; to VOIDING if the order or its sale
-- did not wait for the money. One step: nothing is to be decided between the two, so nothing can be lost there. No stock
-- moves: the attempt was open and stays so, and that is what holds the order.
create function confirm_payments(p_ids uuid[], p_refs text[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments p
    set state = case when o.status = 'RESERVED' and s.status <> 'CANCELLED' then 'CAPTURING' else 'VOIDING' end,
        decline_reason = case when o.status = 'RESERVED' and s.status <> 'CANCELLED' then null else 'order_ended' end,
        gateway_ref = a.ref, updated_at = clock_ms()
    from unnest(p_ids, p_refs) as a (id, ref), sale_orders o, flash_sales s
    where p.payment_id = a.id and p.state in ('SENT', 'AUTHORIZED')
        and o.order_id = p.order_id and s.sale_id = p.sale_id;
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- P6: CAPTURING to CAPTURED and the order PAID, in one transaction (I7 I9). Money that came too late for its order
-- goes on to REFUND_DUE.
create function capture_payments(p_ids uuid[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_sale record;
    v_paid uuid[];
begin
    perform lock_sales_and_payments(p_ids);
    for v_sale in
        select p.sale_id, array_agg(p.order_id) as order_ids, array_agg(p.payment_id) as ids
        from payments p
        where p.payment_id = any(p_ids) and p.state = 'CAPTURING'
        group by p.sale_id
    loop
        update payments set state = 'CAPTURED', updated_at = clock_ms() where payment_id = any(v_sale.ids);
        v_paid := array(select pay_orders(v_sale.sale_id, v_sale.order_ids));
        if cardinality(v_paid) < cardinality(v_sale.order_ids) then
            update payments set state = 'REFUND_DUE'
            where payment_id = any(v_sale.ids) and order_id <> all(v_paid);
        end if;
    end loop;
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- INTENT to VOIDED: it was never sent. SENT, AUTHORIZED, CAPTURING to VOIDING, each with its reason.
create function void_payments(p_ids uuid[], p_reasons text[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments p
    set state = case p.state when 'INTENT' then 'VOIDED' else 'VOIDING' end, decline_reason = v.reason,
        updated_at = clock_ms()
    from unnest(p_ids, p_reasons) as v (id, reason)
    where p.payment_id = v.id and p.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING');
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- VOIDING to VOIDED, after the gateway said so. Where the capture was refused for good the order ends with it (P7).
create function voided_payments(p_ids uuid[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_sale record;
begin
    perform lock_sales_and_payments(p_ids);
    for v_sale in
        with voided as (
            update payments set state = 'VOIDED', updated_at = clock_ms()
            where payment_id = any(p_ids) and state = 'VOIDING'
            returning sale_id, order_id, decline_reason
        )
        select sale_id, array_agg(order_id) as order_ids
        from voided
        where decline_reason = 'capture_refused'
        group by sale_id
    loop
        perform close_orders(
            v_sale.sale_id, v_sale.order_ids, 'CANCELLED', 'payment', 'the capture was refused', clock_ms()
        );
    end loop;
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- VOIDING to REFUND_DUE: the void came too late.
create function refund_due_payments(p_ids uuid[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments set state = 'REFUND_DUE', updated_at = clock_ms()
    where payment_id = any(p_ids) and state = 'VOIDING';
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- REFUND_DUE to REFUNDED, after the gateway said so.
create function refunded_payments(p_ids uuid[]) returns setof attempt_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    perform lock_payments(p_ids);
    update payments set state = 'REFUNDED', updated_at = clock_ms()
    where payment_id = any(p_ids) and state = 'REFUND_DUE';
    return query select * from attempt_view where attempt_id = any(p_ids);
end
$$;

-- Unfinished attempts that nobody has touched for a while. Touching them is the claim: whoever asks next finds them
-- young, and a claimer that dies is replaced after the same while. It decides only who works, never what is true.
create function claim_payments(p_gateway text, p_quiet_ms bigint, p_limit integer) returns setof attempt_view
language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_before timestamptz := clock_ms() - p_quiet_ms * interval '1 millisecond';
    v_ids uuid[];
begin
    with claimed as (
        update payments p set updated_at = clock_ms()
        where p.payment_id in (
                select q.payment_id
                from payments q
                where q.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE')
                    and q.gateway = p_gateway and q.updated_at <= v_before
                order by q.updated_at
                limit p_limit
                for no key update skip locked
            )
            -- Repeated, because the row may have moved between the two (A13).
            and p.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE')
            and p.updated_at <= v_before
        returning p.payment_id
    )
    select array_agg(payment_id) into v_ids from claimed;
    return query select * from attempt_view where attempt_id = any(v_ids) order by attempt_created_ms;
end
$$;
