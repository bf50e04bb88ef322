-- Endpoints of the shop and what is on its way to them.

-- name: endpoints
select * from endpoint_view order by created_ms, endpoint_id

-- name: endpoint
select * from endpoint_view where endpoint_id = $1

-- name: create_endpoint
select create_endpoint($1, $2, $3, $4, $5, $6) as secret

-- name: change_endpoint
select change_endpoint($1, $2, $3, $4, $5)

-- name: delete_endpoint
select delete_endpoint($1) as gone

-- name: rotate
select rotate_secret($1, $2) as secret

-- name: address
select url, signing_secrets(endpoint_id) as secrets from webhook_endpoints where endpoint_id = $1

-- name: deliveries
-- Of one endpoint, the newest first, after a cursor.
select * from delivery_view
where endpoint_id = $1 and ($2::text is null or state = $2) and delivery_id < $3
order by delivery_id desc
limit $4

-- name: delivery
select * from delivery_view where delivery_id = $1

-- name: resend
select resend_delivery($1) as word

-- name: resend_dead
select resend_dead($1) as count

-- name: claim
select * from claim_deliveries($1, $2, $3, $4)

-- name: record
select record_deliveries($1, $2, $3, $4, $5, $6, $7, $8)

-- name: backlog
-- What waits for endpoints that are enabled, and what was given up.
select
    coalesce(sum(waiting.count), 0)::bigint as pending,
    ms(min(waiting.oldest)) as oldest_ms,
    (select count(*) from webhook_deliveries d where d.state = 'dead') as dead
from webhook_endpoints e
cross join lateral (
    select count(*), min(d.at) as oldest from webhook_deliveries d
    where d.endpoint_id = e.endpoint_id and d.state = 'pending'
) waiting
where e.enabled

-- name: prune
select prune_deliveries($1) as pruned
