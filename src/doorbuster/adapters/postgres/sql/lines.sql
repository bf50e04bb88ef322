-- Lines: what the ledger of lines asks. What changes rows is a function of the migrations.

-- name: reserve_numbers
select before, after from reserve_numbers($1, $2, $3)

-- name: note_left
select note_left($1, $2, $3)

-- name: end_line
select end_line($1) as number

-- name: claim
select claim_orders($1)

-- name: sales_with_unclaimed
-- The clock is a scalar sub-select: evaluated once, so it can bound an index scan.
select s.sale_id
from flash_sales s
cross join lateral (
    select from sale_orders o
    where o.sale_id = s.sale_id and o.status = 'RESERVED' and o.line_number is not null and o.claimed_at is null
        and o.reserved_at <= (select clock_timestamp()) - make_interval(secs => s.claim_window_seconds)
        and not exists (select from open_payments p where p.order_id = o.order_id)
    order by o.reserved_at
    limit 1
) due
where s.claim_window_seconds is not null and s.quantity_sold > s.quantity_paid
order by s.sale_id

-- name: expire_unclaimed
select expire_unclaimed($1, $2) as expired

-- name: order_of
-- A tombstone has no key: it never was anybody's order.
select order_id
from sale_orders
where sale_id = $1 and user_id = $2 and idempotency_key is not null
order by status = 'RESERVED' or status = 'PAID' and returned_at is null desc, order_id desc
limit 1

-- name: lapsed_holds
select lapsed_holds from user_sale_eligibility where sale_id = $1 and user_id = $2

-- name: pulse
-- Sums that are kept and a hundred and twenty rows at most, whatever the size of the sale. A minute is sixty whole
-- seconds, the present one included.
select
    now.ms as as_of_ms, s.orders_paid as paid, s.orders_returned as returned,
    coalesce(p.returned_last, 0)::bigint as returned_last_minute,
    coalesce(p.returned_before, 0)::bigint as returned_minute_before,
    coalesce(p.granted_last, 0)::bigint as granted_last_minute,
    due.expires_ms as next_expiry_ms,
    open_entries(s.sale_id) as entered
from flash_sales s
cross join (select ms(clock_timestamp()) as ms offset 0) now
left join lateral (
    select
        sum(r.returned) filter (where r.second > now.ms / 1000 - 60) as returned_last,
        sum(r.returned) filter (where r.second <= now.ms / 1000 - 60) as returned_before,
        sum(r.granted) filter (where r.second > now.ms / 1000 - 60) as granted_last
    from sale_pulse r
    where r.sale_id = s.sale_id and r.second > now.ms / 1000 - 120
) p on true
left join lateral (
    select ms(o.expires_at) as expires_ms
    from sale_orders o
    where o.sale_id = s.sale_id and o.status = 'RESERVED' and s.quantity_sold > s.quantity_paid
        and not exists (select from open_payments q where q.order_id = o.order_id)
    order by o.expires_at
    limit 1
) due on true
where s.sale_id = $1

-- name: sealing_keys
select key_id, secret from sealing_keys order by made_at desc, key_id desc

-- name: make_sealing_key
select make_sealing_key()

-- name: grants
select l.seq, o.line_number, l.at_ms
from sale_log l
join sale_orders o on o.order_id = l.order_id
where l.sale_id = $1 and l.kind = 'reserved' and l.seq > $2 and o.line_number is not null
order by l.seq
limit $3
