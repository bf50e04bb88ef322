-- Sales: what the store of sales asks. What changes rows is a function of the migrations and locks the sale first.

-- name: create
select * from create_sale($1, $2, $3, $4, at_ms($5))

-- name: get
select * from sale_view where sale_id = $1

-- name: newest
select * from sale_view where sale_id < $1 order by sale_id desc limit $2

-- name: live
select s.* from sale_view s
where s.status not in ('ENDED', 'CANCELLED')
    or s.quantity_sold > s.quantity_paid
    or exists (select from sale_releases r where r.sale_id = s.sale_id)
order by s.sale_id

-- name: change
select word, detail, (shown).* from change_sale($1, $2, $3, $4, $5, $6)

-- name: move
select word, detail, (shown).* from move_sale($1, $2, $3, $4, $5, $6)

-- name: follow_clock
select * from follow_clock()

-- name: raise_epoch
select raise_epoch($1, $2, $3) as epoch

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

-- name: set_blocked
select added, removed from block_users($1, $2, $3, $4)

-- name: time
select ms(clock_timestamp()) as now_ms
