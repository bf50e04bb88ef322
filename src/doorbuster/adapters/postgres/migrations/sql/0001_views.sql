-- What the rest of the program reads: rows in its own units, times as milliseconds.

create function ms(p_time timestamptz) returns bigint language sql stable parallel safe
    return (extract(epoch from p_time) * 1000)::bigint;

create function at_ms(p_ms bigint) returns timestamptz language sql immutable parallel safe
    return timestamptz 'epoch' + p_ms * interval '1 millisecond';

-- The database's clock, to the millisecond. Never the start of a transaction: one may have waited for a lock.
create function clock_ms() returns timestamptz language sql volatile
    return date_trunc('milliseconds', clock_timestamp());

create view sale_view as
select
    s.sale_id, s.product_id, s.title, s.quantity_available, s.price_cents, s.currency,
    ms(s.start_time) as start_ms, ms(s.end_time) as end_ms,
    s.mode, s.payment_mode, s.per_user_limit, s.checkout_ttl_seconds, s.payment_attempts,
    s.status, s.quantity_sold, s.quantity_paid, s.epoch, s.tick_seen, s.image_run_id, s.rebuild_reason,
    s.log_size, s.log_head, ms(s.created_at) as created_ms, ms(s.updated_at) as updated_ms
from flash_sales s;

create view order_view as
select
    o.order_id, o.sale_id, o.user_id, o.quantity, o.amount_cents, o.currency, o.status,
    ms(o.reserved_at) as reserved_ms, ms(o.expires_at) as expires_ms, ms(o.closed_at) as closed_ms,
    o.idempotency_key, o.body_digest,
    p.state as payment_state, p.gateway as payment_gateway, p.attempt as payment_attempt,
    p.amount_cents as payment_amount_cents, p.currency as payment_currency, p.decline_reason
from sale_orders o
left join lateral (
    select * from payments t where t.order_id = o.order_id order by t.attempt desc limit 1
) p on true;

-- Attempts that may still end in money: their order is neither expired nor cancelled.
create view open_payments as
select * from payments where state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING');
