-- Orders: what the store of orders asks. What changes rows is a function of the migrations and locks the sale first.

-- name: commit
select word, since_ms, until_ms, price_cents, sale_currency, (shown).*
from commit_holds($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: get
select * from order_view where order_id = $1

-- name: by_key
select * from order_view where sale_id = $1 and user_id = $2 and idempotency_key = $3

-- name: page
-- Orders after a cursor, in the order they were made; of one status, or of all: then four ranges are merged.
select shown.*
from (
    select part.order_id
    from unnest($2::text[]) as wanted (status)
    cross join lateral (
        select o.order_id from sale_orders o
        where o.sale_id = $1 and o.status = wanted.status and o.order_id > $3
        order by o.order_id
        limit $4
    ) part
    order by part.order_id
    limit $4
) page
cross join lateral (select * from order_view v where v.order_id = page.order_id limit 1) shown
order by page.order_id

-- name: cancel
select word, (shown).* from cancel_order($1, $2, $3, $4)

-- name: cancel_reserved
select cancel_reserved($1, $2, $3, $4) as cancelled

-- name: sales_with_due
-- The clock is a scalar sub-select: evaluated once, so it can bound an index scan.
select s.sale_id
from flash_sales s
cross join lateral (
    select from sale_orders o
    where o.sale_id = s.sale_id and o.status = 'RESERVED' and o.expires_at <= (select clock_timestamp())
        -- An open payment keeps a hold from ending, and lengthens it once.
        and (
            o.extended_seconds = 0
            or not exists (select from open_payments p where p.order_id = o.order_id)
        )
    order by o.expires_at
    limit 1
) due
where s.quantity_sold > s.quantity_paid
order by s.sale_id

-- name: expire_sale
select expire_sale($1, $2) as expired

-- name: next_expiry
select min(first.expires_ms) as expires_ms
from flash_sales s
cross join lateral (
    select ms(o.expires_at) as expires_ms
    from sale_orders o
    where o.sale_id = s.sale_id and o.status = 'RESERVED'
        and not exists (select from open_payments p where p.order_id = o.order_id)
    order by o.expires_at
    limit 1
) first
where s.quantity_sold > s.quantity_paid

-- name: tombstone
select t as order_id from tombstone_holds($1, $2, $3, $4, $5) t

-- name: pending_releases
select release_id, sale_id, hold_id, user_id, epoch, forget_key
from sale_releases
order by release_id
limit $1

-- name: releases_done
delete from sale_releases where release_id = any($1)

-- name: live_hold_ids
select order_id from sale_orders
where sale_id = $1 and (status = 'RESERVED' or status = 'PAID' and returned_at is null)

-- name: closing_hold_ids
select
    o.order_id,
    case
        when o.status = 'RESERVED' or o.status = 'PAID' and o.returned_at is null then 'live'
        when r.hold_id is not null then 'releasing'
        else 'closed'
    end as state
from sale_orders o
left join sale_releases r on r.hold_id = o.order_id
where o.sale_id = $1 and o.order_id = any($2)
