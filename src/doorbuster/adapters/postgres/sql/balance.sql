-- Reconciliation: what the store of balances asks.

-- name: attempts_of
-- By the attempts' ids, which rise, so that a page is never read twice.
select a.*
from (
    select p.payment_id from payments p
    where p.sale_id = $1 and p.gateway = $2 and p.payment_id > $3
    order by p.payment_id
    limit $4
) page
join attempt_view a on a.attempt_id = page.payment_id
order by a.attempt_id

-- name: by_keys
select a.* from payments p join attempt_view a on a.attempt_id = p.payment_id where p.gateway_key = any($1)

-- name: paid
select count(*) as orders, coalesce(sum(p.amount_cents), 0)::bigint as cents
from payments p
join sale_orders o on o.order_id = p.order_id and o.status = 'PAID'
where p.sale_id = $1 and p.state = 'CAPTURED' and p.gateway not in ('none', 'external')

-- name: record
select record_reconciliation($1, $2, at_ms($3), $4, $5, $6, $7, $8)

-- name: note
select note_breaks($1, $2, $3)

-- name: latest
select report from reconciliations where sale_id = $1 order by reconciliation_id desc limit 1

-- name: wanting
select s.sale_id
from flash_sales s
left join lateral (
    select r.at from reconciliations r where r.sale_id = s.sale_id order by r.reconciliation_id desc limit 1
) last on true
where (last.at is null or last.at <= at_ms($2))
    and exists (
        select from payments p
        where p.sale_id = s.sale_id and p.gateway = $1 and (last.at is null or p.updated_at > last.at)
    )

-- name: quarantined
select count(*) as attempts from payments
where quarantined_at is not null
    and state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING')
