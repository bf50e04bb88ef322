-- Money: holds that wait for an open payment, buyers who let holds run out, refunds, stored methods, reconciliation.
--
-- Locks as before: the sale's row, then its orders and payments. What ends a payment may end its order with it, so
-- declining takes the sale's row, too.

alter table flash_sales
    -- units granted to one buyer that may run out unpaid before the buyer gets no more; null: any number
    add column max_lapsed_holds integer default 2 check (max_lapsed_holds > 0);
alter table user_sale_eligibility add column lapsed_holds integer not null default 0 check (lapsed_holds >= 0);
-- By how much `expires_at` was moved, because a payment was open, or could not begin, when the time was over.
alter table sale_orders add column extended_seconds integer not null default 0 check (extended_seconds between 0 and 600);

alter table payments
    -- when it was found to withhold a unit for longer than it may: a person has to look
    add column quarantined_at timestamptz,
    add column refund_by text,
    add column refund_reason text;
-- What moved in a sale since it was reconciled.
create index payments_of_sale on payments (sale_id, updated_at);
create index payments_quarantined on payments (sale_id) where quarantined_at is not null;

-- The token of a buyer's method at the gateway, charged where the sale charges by itself.
create table buyer_methods (
    user_id text collate "C" primary key check (length(user_id) between 1 and 200),
    payment_method text not null,
    updated_at timestamptz not null
);

-- Where the gateway's book and the ledger say two things (P10). A row is one finding; found again it is the same row.
create table payment_breaks (
    break_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    gateway text not null,
    gateway_key text not null,
    order_id text not null,
    payment_id uuid,
    kind text not null,
    expected text not null,
    found text not null,
    found_at timestamptz not null,
    seen_at timestamptz not null,
    -- what was done about it, and when it was seen to be gone
    repair text not null default '',
    repaired_at timestamptz
);
create unique index payment_breaks_open on payment_breaks (sale_id, gateway_key, kind) where repaired_at is null;

create table reconciliations (
    reconciliation_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    gateway text not null,
    at timestamptz not null,
    actor text not null,
    reason text not null default '',
    verdict text not null check (verdict in ('in_balance', 'breaks', 'unknown')),
    report jsonb not null
);
create index reconciliations_of_sale on reconciliations (sale_id, reconciliation_id);

-- Units of orders that own them no longer, back to the sale: count, allowance, log, release row. The caller has locked
-- the sale's row and written the orders. `p_paid`: the units were bought, not only held.
create or replace function give_back(
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
    set quantity_purchased = e.quantity_purchased - given.units,
        lapsed_holds = e.lapsed_holds + case when p_kind = 'expired' then given.lapsed else 0 end
    from (
        select
            user_id, sum(quantity) as units,
            -- Whose payment the gateway could not process did not let the hold run out.
            count(*) filter (
                where not exists (select from payments p where p.order_id = g.id and p.state = 'VOIDED')
            ) as lapsed
        from unnest(p_order_ids, p_users, p_quantities) as g (id, user_id, quantity)
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
        orders_paid = orders_paid - case when p_paid then cardinality(p_order_ids) else 0 end,
        orders_returned = orders_returned + cardinality(p_order_ids),
        -- The clock ends a sale; a unit that comes back after the end changes nothing but the counts.
        status = case when status = 'SOLD_OUT' then 'ACTIVE' else status end,
        log_head = v_log.head,
        log_size = v_log.size,
        updated_at = p_at
    where sale_id = p_sale_id;
    if v_sale.mode <> 'race' then
        perform count_pulse(p_sale_id, p_at, 0, v_units);
    end if;
end
$$;

-- R8 for one sale, as in 0001; a hold that is due while a payment of it is open goes on for as long as an attempt may
-- take, once (P1). Two at once are safe: the second waits for the sale's row and finds nothing due.
create or replace function expire_sale(p_sale_id uuid, p_limit integer) returns integer language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz;
    v_ids uuid[];
begin
    perform from flash_sales where sale_id = p_sale_id for no key update;
    v_now := clock_timestamp();
    perform extend_paying(p_sale_id, v_now);
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

-- One extension for an order whose payment is open when its time is over: 30 seconds (PAYMENT_ATTEMPT_MS), so whoever
-- began in the last moment has as long as anybody. It is the `expires_at` that is shown from now on (I11).
create function extend_paying(p_sale_id uuid, p_now timestamptz) returns integer language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_count integer;
begin
    update sale_orders o set expires_at = at_ms(ms(p_now)) + interval '30 seconds', extended_seconds = 30
    where o.sale_id = p_sale_id and o.status = 'RESERVED' and o.expires_at <= p_now and o.extended_seconds = 0
        and exists (select from open_payments p where p.order_id = o.order_id);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- While a gateway is down nobody can be charged: holds of sales that charge by themselves go on by a minute at a time,
-- by ten minutes at most. Returns how many were extended.
create function extend_uncharged(p_limit integer) returns integer language plpgsql as $$
declare
    v_sale record;
    v_count integer;
    v_all integer := 0;
begin
    for v_sale in
        select s.sale_id from flash_sales s
        where s.payment_mode = 'auto' and s.status <> 'CANCELLED' and s.quantity_sold > s.quantity_paid
        order by s.sale_id
    loop
        perform from flash_sales where sale_id = v_sale.sale_id for no key update;
        update sale_orders o
        set expires_at = o.expires_at + interval '60 seconds', extended_seconds = o.extended_seconds + 60
        where o.order_id in (
            select q.order_id
            from sale_orders q
            where q.sale_id = v_sale.sale_id and q.status = 'RESERVED' and q.extended_seconds <= 540
                and q.expires_at > clock_timestamp() and q.expires_at <= clock_timestamp() + interval '30 seconds'
            order by q.expires_at
            limit p_limit
        );
        get diagnostics v_count = row_count;
        v_all := v_all + v_count;
    end loop;
    return v_all;
end
$$;
