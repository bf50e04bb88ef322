-- Traffic, samples and alerts.

-- name: add_traffic
select add_traffic($1, $2, $3)

-- name: traffic
select kind, name, sum(answers)::bigint as answers from traffic
where at >= date_bin('10 seconds', at_ms($1), timestamptz 'epoch') and at < at_ms($2)
group by kind, name

-- name: take_mark
select take_sample_mark($1, $2) as taken

-- name: ledger
select
    coalesce((
        select greatest(0, ms(clock_ms()) - ms(min(o.expires_at)))
        from sale_orders o
        where o.sale_id = $1 and o.status = 'RESERVED'
            and not exists (
                select from payments p
                where p.order_id = o.order_id
                    and p.state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING')
            )
    ), 0)::float as expiry_lag_ms,
    coalesce((
        select greatest(0, ms(clock_ms()) - ms(min(r.created_at))) from sale_releases r where r.sale_id = $1
    ), 0)::float as recirculation_lag_ms,
    (
        select count(*) from sale_log l where l.sale_id = $1 and l.seq > $2 and l.seq <= $3 and l.kind = 'reserved'
    )::float as granted,
    (select count(*) from payments p where p.sale_id = $1 and p.quarantined_at is not null)::float as quarantined,
    (
        select count(*)::float / current_setting('max_connections')::float from pg_stat_activity
        where backend_type = 'client backend'
    ) as database_connections_share

-- name: keep_sample
insert into sale_samples (sale_id, at, sample) values ($1, at_ms($2), $3)
on conflict (sale_id, at) do nothing
returning sale_id

-- name: samples
select sample from sale_samples where sale_id = $1 and at < at_ms($2) order by at desc limit $3

-- name: open_alerts
select alert from sale_alerts where sale_id = $1 and resolved_at is null

-- name: note_alerts
select note_alerts($1, $2)

-- name: alarmed
select distinct sale_id from sale_alerts where resolved_at is null

-- name: alerts
select alert from sale_alerts
where sale_id = $1 and alert ->> 'fired_ms' is not null
order by alert_id desc
limit $2

-- name: prune
with old_samples as (
    delete from sale_samples where at < clock_ms() - interval '30 days' returning 1
),
old_traffic as (
    delete from traffic where at < clock_ms() - interval '30 days' returning 1
),
old_gates as (
    delete from gate_beats where beat_at < clock_ms() - interval '1 day' returning 1
),
old_alerts as (
    delete from sale_alerts where resolved_at < clock_ms() - interval '30 days' returning 1
),
old_pages as (
    delete from pages where resolved_at < clock_ms() - interval '30 days' returning 1
)
select
    (select count(*) from old_samples) + (select count(*) from old_traffic) + (select count(*) from old_gates)
    + (select count(*) from old_alerts) + (select count(*) from old_pages) as gone
