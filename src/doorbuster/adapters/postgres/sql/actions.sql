-- What was done to sales.

-- name: actions
select action_id, sale_id, action, actor, reason, detail, ms(at) as at_ms
from sale_actions
where sale_id = $1 and ($2::bigint is null or action_id < $2)
order by action_id desc
limit $3
