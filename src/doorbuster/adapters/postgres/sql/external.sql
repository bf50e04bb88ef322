-- External payment: reports of the shop, and the keys of passes. What changes rows is a function of the migrations.

-- name: paid
select r.word, r.taken_by, (r.shown).* from report_paid($1, $2, $3, $4, $5, $6, $7) r

-- name: cancelled
select report_cancelled($1, $2, $3, $4) as word

-- name: reports
select
    report_id, order_id, kind, reference, amount_cents, currency, answer, ms(at) as at_ms, ms(last_at) as last_ms,
    times, actor, reason
from payment_reports
where sale_id = $1 and report_id > $2
order by report_id
limit $3

-- name: pass_keys
select key_id, secret, made_ms, signs_from_ms, leaves_ms from kept_pass_keys($1)

-- name: first_pass_key
select first_pass_key()

-- name: rotate_pass_keys
select rotate_pass_keys($1, $2, $3, $4, $5)
