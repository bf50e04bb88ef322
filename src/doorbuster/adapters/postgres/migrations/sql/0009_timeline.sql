-- The steps of a sale's day. They are planned by a trigger, so whatever moves a sale moves its day in the same
-- transaction; a step is claimed by one statement that no lease, lock or leader has to protect.
-- The same rules in Python: domain/timeline.py. Read next: engine/running.py.

create table sale_plans (
    sale_id uuid primary key references flash_sales,
    plan jsonb not null,
    updated_at timestamptz not null
);

-- When each step is due: so long after the start, or after the end, of its sale.
create table step_rules (
    step text primary key,
    ordinal smallint not null unique,
    from_end boolean not null,
    after interval not null
);
insert into step_rules (ordinal, step, from_end, after) values
    (1, 'warm-up', false, '-60 minutes'),
    (2, 'notify-1h', false, '-60 minutes'),
    (3, 'scale-up', false, '-60 minutes'),
    (4, 'cdn-prewarm', false, '-60 minutes'),
    (5, 'rehearsal', false, '-30 minutes'),
    (6, 'waitlist-open', false, '-5 minutes'),
    (7, 'notify-5m', false, '-5 minutes'),
    (8, 'scale-check', false, '-2 minutes'),
    (9, 'start', false, '0'),
    (10, 'end', true, '0'),
    (11, 'settle', true, '0'),
    (12, 'final-audit', true, '0'),
    (13, 'report', true, '0');

create table sale_steps (
    sale_id uuid not null references flash_sales,
    step text not null references step_rules,
    ordinal smallint not null,
    due_at timestamptz not null,
    state text not null default 'due' check (state in ('due', 'running', 'done', 'failed', 'skipped')),
    attempts integer not null default 0 check (attempts >= 0),
    -- When a worker may take it: its time, the next try, or the end of the lease of the worker that has it. Null: never.
    next_at timestamptz,
    lease uuid,
    started_at timestamptz,
    finished_at timestamptz,
    forced boolean not null default false,
    words text not null default '',
    detail jsonb not null default '{}',
    primary key (sale_id, step),
    check ((state = 'running') = (lease is not null)),
    check (state in ('failed') or (next_at is null) = (state in ('done', 'skipped')))
);
create index sale_steps_next on sale_steps (next_at) where next_at is not null;

-- The report as it was when the sale's day was over.
create table sale_reports (
    sale_id uuid primary key references flash_sales,
    report jsonb not null,
    at timestamptz not null
);

create view step_view as
select
    t.sale_id, t.step, t.ordinal, ms(t.due_at) as due_ms, t.state, t.attempts, ms(t.next_at) as next_ms,
    ms(t.started_at) as started_ms, ms(t.finished_at) as finished_ms, t.words, t.detail, t.forced, t.lease
from sale_steps t;

-- A sale that was ended early ends when that was done. What follows the end waits for the last hold.
create function step_due(p_rule step_rules, p_sale flash_sales) returns timestamptz language sql immutable
return case
    when not p_rule.from_end then p_sale.start_time
    when p_sale.status in ('ENDED', 'CANCELLED') then least(p_sale.end_time, p_sale.updated_at)
    else p_sale.end_time
end + p_rule.after + case
    when p_rule.step in ('final-audit', 'report') then p_sale.checkout_ttl_seconds else 0
end * interval '1 second';

create function plan_steps(p_sale flash_sales) returns void language sql
begin atomic
    insert into sale_steps (sale_id, step, ordinal, due_at, next_at)
    select p_sale.sale_id, r.step, r.ordinal, step_due(r, p_sale), step_due(r, p_sale)
    from step_rules r
    on conflict (sale_id, step) do nothing;
end;

-- What is done stays done unless it is due again in the future; what is under way is begun anew in that case, and the
-- worker that has it is refused when it reports.
create function replan_steps(p_sale flash_sales) returns void language plpgsql as $$
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

create function plan_sale() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform plan_steps(new);
    else
        perform replan_steps(new);
    end if;
    return null;
end
$$;
create trigger flash_sales_planned after insert on flash_sales for each row execute function plan_sale();
create trigger flash_sales_replanned after update of start_time, end_time, status, checkout_ttl_seconds on flash_sales
    for each row when (
        new.start_time <> old.start_time or new.end_time <> old.end_time
        or new.checkout_ttl_seconds <> old.checkout_ttl_seconds
        or new.status <> old.status and new.status in ('ENDED', 'CANCELLED')
    )
    execute function plan_sale();

-- Sales that are on already get the rest of their day.
select plan_steps(s) from flash_sales s where s.status not in ('ENDED', 'CANCELLED');

-- Steps whose time has come, taken for a worker. Of each sale the first in order, and the next only when that one is done
-- or has been at it for p_patience_ms.
create function claim_steps(p_lease uuid, p_lease_ms bigint, p_patience_ms bigint, p_limit integer)
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
            state = 'running', attempts = t.attempts + 1, lease = p_lease, started_at = v_now, finished_at = null,
            next_at = v_now + p_lease_ms * interval '1 millisecond'
        where (t.sale_id, t.step) in (
                select o.sale_id, o.step
                from sale_steps o
                where o.next_at <= v_now
                    and not exists (
                        select from sale_steps e
                        where e.sale_id = o.sale_id and e.step <> o.step
                            and (
                                e.next_at <= v_now and (e.due_at, e.ordinal) < (o.due_at, o.ordinal)
                                or e.state = 'running' and e.next_at > v_now and e.started_at > v_patient
                            )
                    )
                order by o.due_at, o.ordinal
                limit p_limit
                for no key update skip locked
            )
            and t.next_at <= v_now  -- repeated: it may have moved between the two
        returning t.sale_id, t.step
    )
    select v.sale_id, v.step, v.ordinal, v.due_ms, 'running', v.attempts + 1,
        ms(v_now) + p_lease_ms, ms(v_now), null::bigint, v.words, v.detail, v.forced, p_lease
    from claimed
    join step_view v using (sale_id, step)
    order by v.due_ms, v.ordinal;
end
$$;

-- What a worker reports of a step it has. Nothing happens if it has it no more: the sale was moved, or the lease was over.
create function finish_step(
    p_sale_id uuid, p_step text, p_lease uuid, p_state text, p_wait_ms bigint, p_counts boolean, p_words text,
    p_detail jsonb
) returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    update sale_steps set
        state = p_state, lease = null, words = p_words, detail = p_detail,
        attempts = attempts - case when p_counts then 0 else 1 end,
        next_at = v_now + p_wait_ms * interval '1 millisecond',
        finished_at = case when p_state = 'due' then null else v_now end,
        forced = forced and p_wait_ms is not null
    where sale_id = p_sale_id and step = p_step and lease = p_lease;
    return found;
end
$$;

-- An operator has a step done now, whatever the hour, or has it left out.
create function run_step(p_sale_id uuid, p_step text, p_by text, p_reason text)
returns text language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_state text;
begin
    select t.state into v_state from sale_steps t where t.sale_id = p_sale_id and t.step = p_step for no key update;
    if v_state is null or v_state = 'running' then
        return coalesce(v_state, 'not_found');
    end if;
    update sale_steps set
        state = 'due', attempts = 0, next_at = v_now, started_at = null, finished_at = null, forced = true, words = ''
    where sale_id = p_sale_id and step = p_step;
    perform note_action(p_sale_id, 'step-run', p_by, p_reason, jsonb_build_object('step', p_step, 'from', v_state));
    return 'ok';
end
$$;

create function skip_step(p_sale_id uuid, p_step text, p_by text, p_reason text)
returns text language plpgsql as $$
declare
    v_state text;
begin
    select t.state into v_state from sale_steps t where t.sale_id = p_sale_id and t.step = p_step for no key update;
    if v_state is null or v_state in ('done', 'skipped') then
        return coalesce(v_state, 'not_found');
    end if;
    update sale_steps set
        state = 'skipped', lease = null, next_at = null, finished_at = clock_ms(), forced = false,
        words = rtrim(format('skipped by %s: %s', p_by, p_reason), ': ')
    where sale_id = p_sale_id and step = p_step;
    perform note_action(p_sale_id, 'step-skip', p_by, p_reason, jsonb_build_object('step', p_step, 'from', v_state));
    return 'ok';
end
$$;

create function set_plan(p_sale_id uuid, p_plan jsonb, p_by text, p_reason text) returns boolean language plpgsql as $$
begin
    if not exists (select from flash_sales where sale_id = p_sale_id) then
        return false;
    end if;
    insert into sale_plans (sale_id, plan, updated_at) values (p_sale_id, p_plan, clock_ms())
    on conflict (sale_id) do update set plan = excluded.plan, updated_at = excluded.updated_at;
    perform note_action(p_sale_id, 'plan', p_by, p_reason, p_plan);
    return true;
end
$$;
