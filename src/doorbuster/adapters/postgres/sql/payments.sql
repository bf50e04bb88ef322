-- Payment attempts: what the store of payments asks. What changes rows is a function of the migrations, takes many
-- attempts at once and answers with each as it is afterwards.

-- name: begin
select word, attempts, (shown).* from begin_payments($1, $2, $3, $4, $5, $6, $7, $8)

-- name: send
select * from send_payments($1)

-- name: decline
select * from decline_payments($1, $2)

-- name: confirm
select * from confirm_payments($1, $2)

-- name: captured
select * from capture_payments($1)

-- name: void
select * from void_payments($1, $2)

-- name: voided
select * from voided_payments($1)

-- name: refund_due
select * from refund_due_payments($1)

-- name: refunded
select * from refunded_payments($1)

-- name: refund
select word, (shown).* from refund_order($1, $2, $3)

-- name: refund_aborted
select refund_aborted($1, $2, $3, $4) as refunding

-- name: claim
select * from claim_payments($1, $2, $3)

-- name: attempts
select * from attempt_view where order_id = $1 order by attempt_number
