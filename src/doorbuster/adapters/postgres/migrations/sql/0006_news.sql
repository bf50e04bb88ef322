-- News: what gateways say by themselves. An event is a reason to look, never a state: it marks its attempt, in the
-- transaction that keeps it.

create table gateway_events (
    gateway text not null,
    event_id text not null check (length(event_id) between 1 and 255),
    kind text not null,
    -- the key of the charge it is about; empty: of nothing of ours
    gateway_key text not null,
    payment_id uuid,
    received_at timestamptz not null,
    -- how often it was delivered, and when last
    deliveries integer not null default 1,
    delivered_at timestamptz not null,
    primary key (gateway, event_id)
);

-- When the gateway said that there is something to see; null: nothing new.
alter table payments add column look_at timestamptz;
create index payments_news on payments (look_at) where look_at is not null;

-- Keeps events and marks what they are about. Answers each that was never heard of before with its attempt, if it is
-- about one of ours; no two events of one call have one id.
create function note_events(p_gateway text, p_ids text[], p_kinds text[], p_keys text[])
returns table (event_id text, fresh boolean, shown attempt_view) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_fresh text[];
    v_keys text[];
begin
    perform make_it_last();
    with heard as (
        insert into gateway_events as e (
            gateway, event_id, kind, gateway_key, payment_id, received_at, delivered_at
        )
        select p_gateway, n.id, n.kind, n.key, p.payment_id, clock_ms(), clock_ms()
        from unnest(p_ids, p_kinds, p_keys) as n (id, kind, key)
        left join lateral (
            select q.payment_id from payments q where n.key <> '' and q.gateway_key = n.key limit 1
        ) p on true
        order by n.id
        on conflict on constraint gateway_events_pkey do update
        set deliveries = e.deliveries + 1, delivered_at = excluded.delivered_at
        returning e.event_id, e.gateway_key, e.deliveries
    )
    select array_agg(h.event_id), array_agg(h.gateway_key) into v_fresh, v_keys
    from heard h
    where h.deliveries = 1;
    update payments p set look_at = clock_ms()
    where p.payment_id in (
            select q.payment_id from payments q
            where q.gateway_key = any(v_keys)
            order by q.payment_id
            for no key update
        )
        and p.state in ('SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE');
    return query
    select n.id, n.id = any(coalesce(v_fresh, '{}')), a
    from unnest(p_ids, p_keys) as n (id, key)
    left join payments p on n.key <> '' and p.gateway_key = n.key
    left join attempt_view a on a.attempt_id = p.payment_id;
end
$$;

-- Unfinished attempts that nobody has touched for a while, as in 0002, or that the gateway has news of: those at once.
-- One that has withheld its unit for longer than it may is put into quarantine on the way: it goes on being looked up,
-- and a person is told.
create or replace function claim_payments(p_gateway text, p_quiet_ms bigint, p_limit integer) returns setof attempt_view
language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_before timestamptz := clock_ms() - p_quiet_ms * interval '1 millisecond';
    v_old timestamptz := clock_ms() - interval '120 seconds';  -- PAYMENT_ALARM_MS
    v_ids uuid[];
begin
    with claimed as (
        update payments p
        set updated_at = clock_ms(), look_at = null,
            quarantined_at = case
                when p.quarantined_at is null and p.created_at <= v_old and p.state <> 'REFUND_DUE' then clock_ms()
                else p.quarantined_at
            end
        where p.payment_id in (
                select q.payment_id
                from payments q
                where q.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE')
                    and q.gateway = p_gateway and (q.updated_at <= v_before or q.look_at is not null)
                order by q.updated_at
                limit p_limit
                for no key update skip locked
            )
            -- Repeated, because the row may have moved between the two (A13).
            and p.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING', 'REFUND_DUE')
            and (p.updated_at <= v_before or p.look_at is not null)
        returning p.payment_id
    )
    select array_agg(payment_id) into v_ids from claimed;
    return query select * from attempt_view where attempt_id = any(v_ids) order by attempt_created_ms;
end
$$;
