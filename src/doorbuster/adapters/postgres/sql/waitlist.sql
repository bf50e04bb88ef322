-- Who wants to be told of a sale, and what they are told.

-- name: join
select * from join_waitlist($1, $2, $3, $4, $5, $6)

-- name: leave
select leave_waitlist($1, $2) as gone

-- name: counts
select sale_id, people from waitlist_counts

-- name: queue
select queue_notices($1, $2, at_ms($3), at_ms($4)) as made

-- name: claim
select *, ms(expires_at) as expires_ms, ms(start_time) as start_ms from take_notices($1, $2, $3, $4)

-- name: record
select record_notices($1, $2, $3, $4, $5, $6) as recorded

-- name: progress
select state, count(*) as notices from notices where sale_id = $1 and kind = $2 and channel = $3 group by state

-- name: address
select unsubscribed_at is not null as unsubscribed from mail_addresses where token = $1

-- name: unsubscribe
update mail_addresses set unsubscribed_at = coalesce(unsubscribed_at, clock_ms())
where lower(email) = (select lower(email) from mail_addresses where token = $1)
returning token
