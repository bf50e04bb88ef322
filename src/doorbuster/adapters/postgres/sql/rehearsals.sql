-- Rehearsals and their shadow sales.

-- name: ask
select word, detail from ask_rehearsal($1, $2, $3, $4, $5, $6, $7)

-- name: get
select * from rehearsal_view where rehearsal_id = $1

-- name: latest
select * from rehearsal_view where sale_id = $1 order by asked_ms desc, rehearsal_id desc limit 1

-- name: stop
with stopped as (
    update rehearsals set
        unwanted = true,
        state = case state when 'asked' then 'stopped' else state end,
        words = case state when 'asked' then 'an operator stopped it' else words end,
        finished_at = case state when 'asked' then clock_ms() end
    where sale_id = $1 and state in ('asked', 'running') and not unwanted
    returning sale_id
)
select note_action(sale_id, 'rehearse-stop', $2, $3, '{}') from stopped

-- name: claim
select rehearsal_id, crashed, secret from claim_rehearsal($1, $2, $3)

-- name: create_shadow
select * from create_rehearsal_sale($1, $2, $3, $4, $5, $6)

-- name: renew
update rehearsals r set lease_until = clock_ms() + $3 * interval '1 millisecond', progress = $4
where r.rehearsal_id = $1 and r.lease = $2 and r.state = 'running'
returning rehearsal_hindrance(r, $5) as hindrance

-- name: stored
select order_id, user_id from sale_orders where sale_id = $1

-- name: count
select
    coalesce(sum(quantity) filter (where status in ('RESERVED', 'PAID')), 0)::integer as units,
    coalesce(sum(quantity) filter (where status = 'PAID'), 0)::integer as paid_units,
    coalesce((
        select max(mine.units)
        from (
            select sum(o.quantity) as units from sale_orders o
            where o.sale_id = $1 and o.status in ('RESERVED', 'PAID')
            group by o.user_id
        ) mine
    ), 0)::integer as most_per_buyer
from sale_orders
where sale_id = $1

-- name: remove_shadow
select remove_rehearsal_sale($1) as removed

-- name: note
update rehearsals set words = $3, sheet = $4
where rehearsal_id = $1 and lease = $2 and state = 'running'
returning rehearsal_id

-- name: finish
update rehearsals set state = $3, words = $4, sheet = $5, finished_at = clock_ms(), lease = null, lease_until = null
where rehearsal_id = $1 and lease = $2 and state = 'running'
returning rehearsal_id

-- name: secrets
select rehearsal_id, crowd_secret from rehearsals where state = 'running'
