-- Gates and pages.

-- name: beat
insert into gate_beats (gate_id, host, pid, ready, clock_offset_ms, busy, pool_share, started_at, beat_at)
values ($1, $2, $3, $4, $5, $6, $7, clock_ms(), clock_ms())
on conflict (gate_id) do update set
    ready = excluded.ready, clock_offset_ms = excluded.clock_offset_ms, busy = excluded.busy,
    pool_share = excluded.pool_share, beat_at = excluded.beat_at
returning gate_id

-- name: leave
delete from gate_beats where gate_id = $1 returning gate_id

-- name: gates
select *, ms(started_at) as started_ms, ms(beat_at) as beat_ms from gate_beats
where beat_at > clock_ms() - $1 * interval '1 millisecond'
order by started_at, gate_id

-- name: prune
delete from gate_beats where beat_at < clock_ms() - interval '1 day' returning gate_id

-- name: open
select open_page($1, $2, $3, $4, $5) as opened

-- name: resolve
select resolve_page($1, $2) as resolved

-- name: claim
select key, sale_id, title, text, severity, resolved_at is not null as resolved from claim_pages($1, $2)

-- name: matters
select key, sale_id, title, text, severity, false as resolved from pages where resolved_at is null

-- name: reached
update pages set
    paged_at = clock_ms(), reached = $2,
    told_resolved = told_resolved or resolved_at is not null,
    next_at = case
        when resolved_at is not null and not $3 then clock_ms()  -- resolved while the call was made
        when resolved_at is not null then null
        else clock_ms() + $4 * interval '1 millisecond'
    end
where key = $1
returning key

-- name: missed
update pages set next_at = clock_ms() + $2 * interval '1 millisecond' where key = $1 returning key

-- name: ways
select reached from pages where key = $1
