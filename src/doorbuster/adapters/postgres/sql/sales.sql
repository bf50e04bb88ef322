-- Sales: what the store of sales asks. What changes rows is a function of the migrations and locks the sale first.

-- name: create
select * from create_sale($1, $2, $3, $4, at_ms($5))

-- name: get
select * from sale_view where sale_id = $1

-- name: newest
select * from sale_view where sale_id < $1 and rehearsal_of is null order by sale_id desc limit $2

-- name: live
select s.* from sale_view s
where s.status not in ('ENDED', 'CANCELLED')
    or s.quantity_sold > s.quantity_paid
    or s.status = 'CANCELLED' and s.quantity_paid > 0  -- refunds to come
    or exists (select from sale_releases r where r.sale_id = s.sale_id)
order by s.sale_id

-- name: change
select word, detail, (shown).* from change_sale($1, $2, $3, $4, $5, $6)

-- name: move
select word, detail, (shown).* from move_sale($1, $2, $3, $4, $5, $6)

-- name: follow_clock
select * from follow_clock()

-- name: raise_epoch
select raise_epoch($1, $2, $3, $4) as epoch

-- name: request_rebuild
update flash_sales set rebuild_reason = $3, updated_at = clock_ms()
where sale_id = $1 and epoch = $2
returning sale_id

-- name: image_published
update flash_sales set image_run_id = $3, rebuild_reason = '', updated_at = clock_ms()
where sale_id = $1 and epoch = $2
returning sale_id

-- name: image_holds
select order_id, user_id, quantity, idempotency_key, body_digest, ms(reserved_at) as since_ms
from sale_orders
where sale_id = $1 and (status = 'RESERVED' or status = 'PAID' and returned_at is null)

-- name: image_closed
select order_id, user_id, quantity, idempotency_key, body_digest, ms(reserved_at) as since_ms
from sale_orders
where sale_id = $1 and idempotency_key is not null
    and (status in ('CANCELLED', 'EXPIRED') or status = 'PAID' and returned_at is not null)

-- name: image_blocked
select user_id from sale_blocklist where sale_id = $1

-- name: image_line
-- Of a draw that was held: who may still be granted a unit.
select d.user_id, d.number
from flash_sales s
cross join lateral drawn_line(s.sale_id) d
where s.sale_id = $1 and s.drawn_at is not null and d.number > s.ended_number
    and (s.standby_limit is null or d.number <= s.quantity_available + s.standby_limit::bigint)

-- name: image_spent
-- Of each buyer the highest number that waits no longer; granted and given up at once, it was granted.
select distinct on (user_id) user_id, number, coalesce(order_id::text, '') as hold_id
from (
    select o.user_id, o.line_number as number, o.order_id
    from sale_orders o
    where o.sale_id = $1 and o.line_number is not null
    union all
    select l.user_id, l.number, null from sale_line_left l where l.sale_id = $1
) spent
order by user_id, number desc, order_id nulls last

-- name: set_blocked
select added, removed from block_users($1, $2, $3, $4)

-- name: blocked_count
select count(*) as accounts from sale_blocklist where sale_id = $1

-- name: time
select ms(clock_timestamp()) as now_ms
