-- A rehearsal makes way for a real sale, also for one that came after it was asked for. Read next: 0013_rehearsal.sql.

-- Why it should not go on, or not begin, in words; '' if it may. Real sales that are on, or begin within p_clear_ms, are in
-- the way unless it is forced.
create function rehearsal_hindrance(p_rehearsal rehearsals, p_clear_ms bigint) returns text language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_other uuid;
begin
    if p_rehearsal.unwanted then
        return 'an operator stopped it';
    end if;
    if exists (
        select from flash_sales s
        where s.sale_id = p_rehearsal.sale_id and (s.status in ('ENDED', 'CANCELLED') or s.end_time <= v_now)
    ) then
        return 'the sale is over; there is nothing to rehearse';
    end if;
    if coalesce((p_rehearsal.wish ->> 'forced')::boolean, false) then
        return '';
    end if;
    select s.sale_id into v_other from flash_sales s
    where s.status not in ('ENDED', 'CANCELLED') and s.rehearsal_of is null and s.end_time > v_now
        and s.start_time <= v_now + p_clear_ms * interval '1 millisecond'
    order by s.start_time
    limit 1;
    if not found then
        return '';
    end if;
    return format(
        'it made way for sale %s, which is on or about to begin; rehearse again later, or force it', v_other
    );
end
$$;

-- As claim_rehearsal of two arguments, which workers of an older release call; but what should not begin any more is over.
create function claim_rehearsal(p_lease uuid, p_lease_ms bigint, p_clear_ms bigint)
returns table (rehearsal_id uuid, crashed boolean, secret bytea) language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    update rehearsals r set state = 'stopped', words = rehearsal_hindrance(r, p_clear_ms), finished_at = v_now
    where r.state = 'asked' and rehearsal_hindrance(r, p_clear_ms) <> '';
    return query
    with mine as (
        select r.rehearsal_id, r.state = 'running' as crashed
        from rehearsals r
        where r.state = 'asked' or r.state = 'running' and r.lease_until < v_now
        limit 1
        for no key update skip locked
    )
    update rehearsals r set
        state = 'running', lease = p_lease, lease_until = v_now + p_lease_ms * interval '1 millisecond',
        started_at = coalesce(r.started_at, v_now)
    from mine
    where r.rehearsal_id = mine.rehearsal_id
    returning r.rehearsal_id, mine.crashed, r.crowd_secret;
end
$$;
