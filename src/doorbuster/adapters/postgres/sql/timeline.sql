-- The steps of a sale's day.

-- name: steps
select * from step_view where sale_id = $1 order by ordinal

-- name: claim
select * from claim_steps($1, $2, $3, $4)

-- name: renew
update sale_steps set next_at = clock_ms() + $4 * interval '1 millisecond'
where sale_id = $1 and step = $2 and lease = $3
returning sale_id, step

-- name: finish
select finish_step($1, $2, $3, $4, $5, $6, $7, $8) as taken

-- name: run
select run_step($1, $2, $3, $4) as word

-- name: skip
select skip_step($1, $2, $3, $4) as word

-- name: plan
select plan from sale_plans where sale_id = $1

-- name: set_plan
select set_plan($1, $2, $3, $4) as known

-- name: keep_report
insert into sale_reports (sale_id, report, at) values ($1, $2, clock_ms())
on conflict (sale_id) do update set report = excluded.report, at = excluded.at
where not sale_reports.report @> '{"final": true}'
returning sale_id

-- name: report
select report, ms(at) as at_ms from sale_reports where sale_id = $1

-- name: figures
select
    o.*, p.*, b.*,
    (select count(*) from sale_blocklist l where l.sale_id = $1) as blocked_accounts,
    (
        select count(*)
        from (
            select reserved_at, max(reserved_at) over (order by line_number rows unbounded preceding) as latest
            from sale_orders where sale_id = $1 and line_number is not null
        ) granted
        where reserved_at < latest
    ) as grants_out_of_order
from (
    select
        count(*) as orders, count(distinct user_id) as buyers,
        count(*) filter (where status = 'PAID') as paid_orders,
        coalesce(sum(quantity) filter (where status = 'PAID' and returned_at is null), 0)::bigint as paid_units,
        count(*) filter (where status = 'CANCELLED') as cancelled_orders,
        -- By whom they were closed: the migrations write `payment` and its reasons, the gates `buyer`. Whoever else
        -- closes orders of a sale that was called off, does so because of that.
        count(*) filter (
            where status = 'CANCELLED' and closed_by = 'payment' and close_reason = 'the payment was declined'
        ) as declined_orders,
        count(*) filter (
            where status = 'CANCELLED' and closed_by = 'payment' and close_reason <> 'the payment was declined'
        ) as payment_failed_orders,
        count(*) filter (where status = 'CANCELLED' and closed_by = 'buyer') as given_back_orders,
        count(*) filter (
            where status = 'CANCELLED' and closed_by not in ('payment', 'buyer') and closed_at >= aborted.at
        ) as aborted_orders,
        count(*) filter (where status = 'EXPIRED') as expired_orders,
        count(*) filter (where status = 'RESERVED') as reserved_orders,
        count(*) filter (where returned_at is not null) as refunded_orders,
        coalesce(sum(amount_cents) filter (where status = 'PAID' and returned_at is null), 0)::bigint as revenue_cents,
        coalesce(sum(amount_cents) filter (where returned_at is not null), 0)::bigint as refunded_cents,
        percentile_disc(0.5) within group (order by ms(closed_at) - ms(reserved_at))
            filter (where status = 'PAID') as pay_p50_ms,
        percentile_disc(0.95) within group (order by ms(closed_at) - ms(reserved_at))
            filter (where status = 'PAID') as pay_p95_ms
    from sale_orders
    left join (
        select t.due_at as at from sale_steps t
        join flash_sales s on s.sale_id = t.sale_id and s.status = 'CANCELLED'
        where t.sale_id = $1 and t.step = 'end'
    ) aborted on true
    where sale_id = $1 and idempotency_key is not null
) o
cross join (
    select count(*) filter (where state = 'DECLINED') as declined_attempts, count(*) as attempts
    from payments where sale_id = $1
) p
cross join (
    select coalesce(max(units), 0)::bigint as top_buyer_units, count(*) filter (where orders > 1) as buyers_of_several
    from (
        select sum(quantity) as units, count(*) as orders
        from sale_orders
        where sale_id = $1 and (status = 'RESERVED' or status = 'PAID' and returned_at is null)
        group by user_id
    ) each_buyer
) b
