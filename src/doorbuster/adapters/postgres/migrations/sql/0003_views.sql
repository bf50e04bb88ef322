-- The views of 0001 and 0002 with the columns of the line. New columns stand last: what reads the views goes on.

create or replace view sale_view as
select
    s.sale_id, s.product_id, s.title, s.quantity_available, s.price_cents, s.currency,
    ms(s.start_time) as start_ms, ms(s.end_time) as end_ms,
    s.mode, s.payment_mode, s.per_user_limit, s.checkout_ttl_seconds, s.payment_attempts,
    s.status, s.quantity_sold, s.quantity_paid, s.epoch, s.tick_seen, s.image_run_id, s.rebuild_reason,
    s.log_size, s.log_head, ms(s.created_at) as created_ms, ms(s.updated_at) as updated_ms,
    s.standby_limit, s.claim_window_seconds, ms(s.entry_opens_at) as entry_opens_ms, s.beacon_round,
    s.number_high, s.granted_mark, s.ended_number, s.draw_size, ms(s.drawn_at) as drawn_ms
from flash_sales s;

create or replace view order_view as
select
    o.order_id, o.sale_id, o.user_id, o.quantity, o.amount_cents, o.currency, o.status,
    ms(o.reserved_at) as reserved_ms, ms(o.expires_at) as expires_ms, ms(o.closed_at) as closed_ms,
    o.idempotency_key, o.body_digest,
    p.state as payment_state, p.gateway as payment_gateway, p.attempt as payment_attempt,
    p.amount_cents as payment_amount_cents, p.currency as payment_currency, p.decline_reason,
    o.line_number, ms(o.claimed_at) as claimed_ms
from sale_orders o
left join lateral (
    select * from payments t where t.order_id = o.order_id order by t.attempt desc limit 1
) p on true;

create or replace view attempt_view as
select
    p.payment_id as attempt_id, p.attempt as attempt_number, p.gateway as attempt_gateway,
    p.payment_method as attempt_method, p.state as attempt_state, p.amount_cents as attempt_amount_cents,
    p.currency as attempt_currency, p.idempotency_key as attempt_key, p.body_digest as attempt_digest,
    p.gateway_ref as attempt_ref, p.decline_reason as attempt_reason,
    ms(p.created_at) as attempt_created_ms, ms(p.updated_at) as attempt_updated_ms,
    o.*
from payments p
join order_view o on o.order_id = p.order_id;
