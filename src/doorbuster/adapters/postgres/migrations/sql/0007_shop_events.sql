-- What the shop is told: events written with the change they tell of, and their way to each of the shop's endpoints.
--
-- Every change of orders passes append_log and every change of a sale's status is an update of its row, so this is where
-- events are made: in the transaction of the change, by nobody else. Without an endpoint that wants one there is none.
-- Deliveries name no endpoint by key: an operator who deletes an endpoint must not make a commit fail. What is left of
-- such a race is never claimed, and pruned.
-- Locks: events are only ever inserted under the sale's lock, so those of one order, or of one sale, are numbered in the
-- order of the changes. Deliveries are locked by the relay alone, in the order of their numbers.

create table webhook_endpoints (
    endpoint_id uuid primary key,
    url text not null check (length(url) between 1 and 2000),
    description text not null default '',
    -- empty: every type there is
    event_types text[] not null default '{}',
    enabled boolean not null default true,
    -- why it disabled itself; empty: an operator did, or nobody
    disabled_reason text not null default '',
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table webhook_secrets (
    secret_id bigint generated always as identity primary key,
    endpoint_id uuid not null references webhook_endpoints on delete cascade,
    secret text not null,
    -- null: the present one. An old one signs beside it until then
    valid_until timestamptz
);
create unique index webhook_secrets_present on webhook_secrets (endpoint_id) where valid_until is null;
create index webhook_secrets_of_endpoint on webhook_secrets (endpoint_id);

-- An event on its way to one endpoint. The same event has the same id wherever it goes.
create table webhook_deliveries (
    delivery_id bigint generated always as identity primary key,
    endpoint_id uuid not null,
    -- what a receiver knows it by, over all attempts. A sequence would repeat itself after a restore
    event_id uuid not null,
    type text not null,
    -- the order, or the sale: what is told of one of these is told in order
    aggregate_id uuid not null,
    at timestamptz not null,
    -- the order or the sale as the change left it: what it has become since is another event
    data json not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    attempts integer not null default 0 check (attempts >= 0),
    -- a relay has it until `next_at`; after that the relay counts as dead
    sending boolean not null default false,
    next_at timestamptz not null,
    -- how the latest attempt went
    last_at timestamptz,
    last_status integer,
    last_error text not null default '',
    last_body text not null default '',
    last_took_ms integer,
    closed_at timestamptz,
    constraint closed_has_time check ((state = 'pending') = (closed_at is null))
);
create index webhook_deliveries_of_endpoint on webhook_deliveries (endpoint_id, delivery_id);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_at, delivery_id) where state = 'pending';
create index webhook_deliveries_in_line on webhook_deliveries (endpoint_id, aggregate_id, delivery_id)
    where state = 'pending';
create index webhook_deliveries_dead on webhook_deliveries (endpoint_id, delivery_id) where state = 'dead';
create index webhook_deliveries_closed on webhook_deliveries (closed_at) where state <> 'pending';

create function wants_event(p_endpoint webhook_endpoints, p_type text) returns boolean language sql immutable
return p_endpoint.enabled and (p_endpoint.event_types = '{}' or p_type = any(p_endpoint.event_types));

-- RFC 3339 as the HTTP interface writes it.
create function stamp(p_time timestamptz) returns text language sql stable
return to_char(p_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- One event for each of these orders, as they are now, and a delivery of it to every endpoint that wants it.
-- The settings for the same reason as in commit_holds.
create function tell_of_orders(p_type text, p_order_ids uuid[], p_at timestamptz) returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
    with told as materialized (
        select
            n, gen_random_uuid() as event_id, o.order_id,
            json_build_object(
                'order_id', o.order_id, 'sale_id', o.sale_id, 'user_id', o.user_id, 'quantity', o.quantity,
                'amount_cents', o.amount_cents, 'currency', o.currency, 'status', o.status,
                'reserved_at', stamp(o.reserved_at), 'expires_at', stamp(o.expires_at)
            ) as data
        from unnest(p_order_ids) with ordinality as t (id, n)
        cross join lateral (select * from sale_orders s where s.order_id = t.id limit 1) o
    )
    insert into webhook_deliveries (endpoint_id, event_id, type, aggregate_id, at, data, next_at)
    select e.endpoint_id, told.event_id, p_type, told.order_id, p_at, told.data, p_at
    from told
    cross join webhook_endpoints e
    where wants_event(e, p_type)
    order by told.n;
end
$$;

-- As in 0001, and the shop is told.
create or replace function append_log(
    p_sale flash_sales, p_kind text, p_order_ids uuid[], p_quantities integer[], p_epoch bigint, p_at timestamptz,
    out head bytea, out size bigint
) language plpgsql as $$
declare
    v_sale text := p_sale.sale_id::text;
    v_tail text := '|' || p_epoch || '|' || ms(p_at);
begin
    head := p_sale.log_head;
    size := p_sale.log_size + cardinality(p_order_ids);
    with appended as (
        insert into sale_log (sale_id, seq, kind, order_id, quantity, epoch, at_ms, hash)
        select
            p_sale.sale_id, p_sale.log_size + n, p_kind, order_id, quantity, p_epoch, ms(p_at),
            chain(
                p_sale.log_head,
                v_sale || '|' || p_sale.log_size + n || '|' || p_kind || '|' || coalesce(order_id::text, '') || '|'
                || quantity || v_tail
            ) over (order by n rows unbounded preceding)
        from unnest(p_order_ids, p_quantities) with ordinality as t (order_id, quantity, n)
        order by n
        returning seq, hash
    )
    select hash into head from appended where seq = size;
    head := coalesce(head, p_sale.log_head);
    if p_kind in ('reserved', 'paid', 'cancelled', 'expired', 'refunded')
        and exists (select from webhook_endpoints e where wants_event(e, 'order.' || p_kind)) then
        perform tell_of_orders('order.' || p_kind, p_order_ids, p_at);
    end if;
end
$$;

-- One event for each word a change of status has. A change may have two: a sale that is found sold out when its start is
-- noticed has started, too. The last unit paid makes `sold_out` final, which is said once more (I14).
create function tell_of_sale() returns trigger language plpgsql as $$
declare
    v_moved boolean := new.status <> old.status;
    v_types text[] := array_remove(array[
        case when old.status = 'SCHEDULED' and new.status in ('ACTIVE', 'SOLD_OUT', 'PAUSED') then 'sale.started' end,
        case when old.status = 'PAUSED' and new.status in ('ACTIVE', 'SOLD_OUT') then 'sale.resumed' end,
        case when new.status = 'SOLD_OUT' then 'sale.sold_out' end,
        case when old.status = 'SOLD_OUT' and new.status = 'ACTIVE' then 'sale.reopened' end,
        case when v_moved and new.status = 'PAUSED' then 'sale.paused' end,
        case when v_moved and new.status = 'ENDED' then 'sale.ended' end,
        case when v_moved and new.status = 'CANCELLED' then 'sale.cancelled' end
    ], null);
begin
    if not exists (select from webhook_endpoints e, unnest(v_types) as t (type) where wants_event(e, t.type)) then
        return null;
    end if;
    with told as materialized (
        select
            n, t.type, gen_random_uuid() as event_id,
            json_build_object(
                'sale_id', new.sale_id, 'product_id', new.product_id, 'title', new.title, 'status', new.status,
                'mode', new.mode, 'price_cents', new.price_cents, 'currency', new.currency,
                'start_time', stamp(new.start_time), 'end_time', stamp(new.end_time),
                'quantity_available', new.quantity_available,
                'availability', json_build_object(
                    'state', case
                        when new.quantity_sold < new.quantity_available then 'open'
                        when new.quantity_paid < new.quantity_sold then 'all_held'
                        else 'sold_out'
                    end,
                    'free', new.quantity_available - new.quantity_sold,
                    'held', new.quantity_sold - new.quantity_paid,
                    'sold', new.quantity_paid
                ),
                'final', new.quantity_paid = new.quantity_available or new.status in ('ENDED', 'CANCELLED')
            ) as data
        from unnest(v_types) with ordinality as t (type, n)
    )
    insert into webhook_deliveries (endpoint_id, event_id, type, aggregate_id, at, data, next_at)
    select e.endpoint_id, told.event_id, told.type, new.sale_id, new.updated_at, told.data, new.updated_at
    from told
    join webhook_endpoints e on wants_event(e, told.type)
    order by told.n;
    return null;
end
$$;
create trigger flash_sales_told after update on flash_sales
    for each row when (
        new.status <> old.status
        or new.status = 'SOLD_OUT' and new.quantity_paid = new.quantity_available
        and new.quantity_paid <> old.quantity_paid
    )
    execute function tell_of_sale();
