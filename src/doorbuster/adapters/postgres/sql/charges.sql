-- Charging by itself: what the store of charges asks.

-- name: due
select order_id, user_id, method, tries from due_charges($1)

-- name: cancel_uncharged
select cancel_uncharged($1) as cancelled

-- name: extend_uncharged
select extend_uncharged($1) as extended

-- name: store_method
insert into buyer_methods as m (user_id, payment_method, updated_at) values ($1, $2, clock_ms())
on conflict (user_id) do update set payment_method = excluded.payment_method, updated_at = excluded.updated_at

-- name: forget_method
delete from buyer_methods where user_id = $1
