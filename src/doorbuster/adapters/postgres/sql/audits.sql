-- The ledger's side of an audit. The first five run in one snapshot.

-- name: sale
select * from sale_view where sale_id = $1

-- name: orders_by_status
select
    status, count(*) as orders,
    coalesce(sum(quantity) filter (where returned_at is null), 0)::bigint as units
from sale_orders
where sale_id = $1
group by status

-- name: eligibility_units
select coalesce(sum(quantity_purchased), 0)::bigint as units from user_sale_eligibility where sale_id = $1

-- name: eligibility_wrong
-- Buyers whose allowance differs from the sum of their live orders, or is above the limit.
select user_id
from (
    select user_id, sum(quantity) as units
    from sale_orders
    where sale_id = $1 and (status = 'RESERVED' or status = 'PAID' and returned_at is null)
    group by user_id
) live
full join (
    select user_id, quantity_purchased from user_sale_eligibility where sale_id = $1
) allowed using (user_id)
where coalesce(units, 0) <> coalesce(quantity_purchased, 0) or coalesce(units, 0) > $2
order by user_id
limit $3

-- name: releases_pending
select count(*) as releases from sale_releases where sale_id = $1

-- name: log
select seq, kind, order_id, quantity, epoch, at_ms, hash
from sale_log
where sale_id = $1 and seq > $2
order by seq

-- name: log_part
select seq, kind, order_id, quantity, epoch, at_ms, hash
from sale_log
where sale_id = $1 and seq > $2
order by seq
limit $3

-- name: record
insert into sale_audits (sale_id, verdict, epoch, at, actor, reason, report)
values ($1, $2, $3, at_ms($4), $5, $6, $7)

-- name: latest
select report from sale_audits where sale_id = $1 order by audit_id desc limit 1
