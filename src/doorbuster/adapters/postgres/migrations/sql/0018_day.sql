-- A step that never reports does not stop the day; what an operator left out stays out; what was run early is run again.

-- A step holds up the others of its sale for three attempts; after that it is taken when nothing else is due.
create or replace function claim_steps(p_lease uuid, p_lease_ms bigint, p_patience_ms bigint, p_limit integer)
returns setof step_view language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now timestamptz := clock_ms();
    v_patient timestamptz := v_now - p_patience_ms * interval '1 millisecond';
begin
    return query
    with claimed as (
        update sale_steps t set
            state = 'running', attempts = case when t.state in ('done', 'skipped') then 1 else t.attempts + 1 end,
            lease = p_lease, started_at = v_now, finished_at = null,
            next_at = v_now + p_lease_ms * interval '1 millisecond'
        where (t.sale_id, t.step) in (
                select o.sale_id, o.step
                from sale_steps o
                where o.next_at <= v_now
                    and not exists (
                        select from sale_steps e
                        where e.sale_id = o.sale_id and e.step <> o.step and e.attempts <= 3
                            and (
                                e.next_at <= v_now and (e.due_at, e.ordinal) < (o.due_at, o.ordinal)
                                or e.state = 'running' and e.next_at > v_now and e.started_at > v_patient
                            )
                    )
                order by o.attempts > 3, o.due_at, o.ordinal
                limit p_limit
                for no key update skip locked
            )
            and t.next_at <= v_now  -- repeated: it may have moved between the two
        returning t.sale_id, t.step, t.attempts
    )
    select v.sale_id, v.step, v.ordinal, v.due_ms, 'running', claimed.attempts,
        ms(v_now) + p_lease_ms, ms(v_now), null::bigint, v.words, v.detail, v.forced, p_lease
    from claimed
    join step_view v using (sale_id, step)
    order by v.due_ms, v.ordinal;
end
$$;

-- What is over may be due once more: what an operator had run before its time is shown as it ended, and done again at its
-- time.
alter table sale_steps drop constraint sale_steps_check1;
alter table sale_steps add constraint sale_steps_go_on check (state not in ('due', 'running') or next_at is not null);
create or replace function finish_step(
    p_sale_id uuid, p_step text, p_lease uuid, p_state text, p_wait_ms bigint, p_counts boolean, p_words text,
    p_detail jsonb
) returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_forced boolean;
begin
    select t.forced into v_forced from sale_steps t
    where t.sale_id = p_sale_id and t.step = p_step and t.lease = p_lease
    for no key update;
    update sale_steps set
        state = p_state, lease = null, words = p_words, detail = p_detail,
        attempts = attempts - case when p_counts then 0 else 1 end,
        next_at = v_now + p_wait_ms * interval '1 millisecond',
        finished_at = case when p_state = 'due' then null else v_now end,
        forced = forced and p_wait_ms is not null
    where sale_id = p_sale_id and step = p_step and lease = p_lease;
    if not found then
        return false;
    end if;
    update sale_steps set
        next_at = due_at,
        words = concat_ws('; ', nullif(p_words, ''), 'run before its time, and again at its time')
    where sale_id = p_sale_id and step = p_step and v_forced and next_at is null and due_at > v_now;
    return true;
end
$$;

-- As before, but what an operator left out stays left out when the sale is moved.
create or replace function replan_steps(p_sale flash_sales) returns void language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    if p_sale.status in ('ENDED', 'CANCELLED') then
        update sale_steps set
            state = 'skipped', next_at = null, finished_at = v_now, forced = false,
            words = case p_sale.status when 'CANCELLED' then 'the sale was aborted' else 'the sale is over' end
        where sale_id = p_sale.sale_id and ordinal <= 9 and next_at is not null and state <> 'running';
    end if;
    update sale_steps t set
        due_at = n.due_at,
        state = case when n.anew then 'due' else t.state end,
        attempts = case when n.anew then 0 else t.attempts end,
        next_at = case when n.anew then n.due_at else t.next_at end,
        lease = case when n.anew then null else t.lease end,
        started_at = case when n.anew then null else t.started_at end,
        finished_at = case when n.anew then null else t.finished_at end,
        forced = t.forced and not n.anew,
        words = case when n.anew then '' else t.words end,
        detail = case when n.anew then '{}' else t.detail end
    from (
        select
            o.step, d.due_at,
            not (o.due_at <= v_now and d.due_at <= v_now)
            and not (o.state = 'skipped' and o.words like 'skipped by %')
            and (d.due_at > v_now or o.state = 'due' and o.attempts = 0 and not o.forced) as anew
        from sale_steps o
        join step_rules r using (step)
        cross join lateral (select step_due(r, p_sale) as due_at) d
        where o.sale_id = p_sale.sale_id and d.due_at <> o.due_at
    ) n
    where t.sale_id = p_sale.sale_id and t.step = n.step
        and (p_sale.status not in ('ENDED', 'CANCELLED') or t.ordinal > 9);
end
$$;

-- A plan that comes late brings back what was skipped for want of it.
create or replace function set_plan(p_sale_id uuid, p_plan jsonb, p_by text, p_reason text) returns boolean language plpgsql as $$
begin
    if not exists (select from flash_sales where sale_id = p_sale_id) then
        return false;
    end if;
    insert into sale_plans (sale_id, plan, updated_at) values (p_sale_id, p_plan, clock_ms())
    on conflict (sale_id) do update set plan = excluded.plan, updated_at = excluded.updated_at;
    update sale_steps t set
        state = 'due', attempts = 0, next_at = greatest(t.due_at, clock_ms()), started_at = null, finished_at = null, words = '',
        detail = '{}'
    from flash_sales s
    where s.sale_id = p_sale_id and s.status = 'SCHEDULED' and t.sale_id = p_sale_id and t.state = 'skipped'
        and t.step in ('scale-up', 'cdn-prewarm', 'rehearsal') and t.words not like 'skipped by %';
    perform note_action(p_sale_id, 'plan', p_by, p_reason, p_plan);
    return true;
end
$$;
