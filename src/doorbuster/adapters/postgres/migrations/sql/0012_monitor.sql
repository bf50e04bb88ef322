-- What the gates answered, what running sales looked like every half minute, and what was alarming about it.
-- Read next: engine/monitoring.py.

-- Answers of all gates in slots of ten seconds: by code, and by how long they took (the power of two of 64 microseconds
-- above it).
create table traffic (
    at timestamptz not null,
    kind text not null check (kind in ('code', 'took')),
    name text not null,
    answers bigint not null,
    primary key (at, kind, name)
);

create table sale_samples (
    sale_id uuid not null references flash_sales,
    at timestamptz not null,
    sample jsonb not null,
    primary key (sale_id, at)
);
create index sale_samples_old on sale_samples (at);

-- Who samples a sale: the one worker that moves its mark.
create table sample_marks (
    sale_id uuid primary key references flash_sales,
    at timestamptz not null
);

create table sale_alerts (
    alert_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    rule text not null,
    alert jsonb not null,
    opened_at timestamptz not null,
    resolved_at timestamptz
);
create unique index sale_alerts_open on sale_alerts (sale_id, rule) where resolved_at is null;
create index sale_alerts_of_sale on sale_alerts (sale_id, alert_id);

create function add_traffic(p_kinds text[], p_names text[], p_answers bigint[]) returns void language sql
begin atomic
    insert into traffic (at, kind, name, answers)
    select date_bin('10 seconds', clock_ms(), timestamptz 'epoch'), t.kind, t.name, t.answers
    from unnest(p_kinds, p_names, p_answers) as t (kind, name, answers)
    order by t.kind, t.name
    on conflict (at, kind, name) do update set answers = traffic.answers + excluded.answers;
end;

-- Whether this caller is to sample the sale now; the answer is yes once in p_every_ms.
create function take_sample_mark(p_sale_id uuid, p_every_ms bigint) returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    insert into sample_marks (sale_id, at) values (p_sale_id, v_now)
    on conflict (sale_id) do update set at = v_now
    where sample_marks.at <= v_now - p_every_ms * interval '1 millisecond';
    return found;
end
$$;

-- The open alert of a rule is brought up to date, and closed where it is over; a rule without one gets one.
create function note_alerts(p_sale_id uuid, p_alerts jsonb) returns void language plpgsql as $$
begin
    with told as (
        select a, a ->> 'rule' as rule, at_ms((a ->> 'resolved_ms')::bigint) as resolved_at
        from jsonb_array_elements(p_alerts) as t (a)
    ),
    changed as (
        update sale_alerts s set alert = told.a, resolved_at = told.resolved_at
        from told
        where s.sale_id = p_sale_id and s.rule = told.rule and s.resolved_at is null
        returning s.rule
    )
    insert into sale_alerts (sale_id, rule, alert, opened_at, resolved_at)
    select p_sale_id, told.rule, told.a, at_ms((told.a ->> 'opened_ms')::bigint), told.resolved_at
    from told
    where told.rule not in (select rule from changed)
    on conflict do nothing;  -- another worker opened it in this moment
end
$$;
