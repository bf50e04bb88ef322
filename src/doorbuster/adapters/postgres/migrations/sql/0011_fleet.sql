-- Which gates there are, and who was paged about what. Read next: engine/scaling.py, engine/paging.py.

create table gate_beats (
    gate_id uuid primary key,
    host text not null,
    pid integer not null,
    ready boolean not null,
    -- the database's clock less the machine's own
    clock_offset_ms bigint not null,
    started_at timestamptz not null,
    beat_at timestamptz not null
);

create table pages (
    key text primary key check (length(key) <= 200),
    sale_id uuid,
    title text not null,
    text text not null,
    severity text not null,
    opened_at timestamptz not null,
    -- when somebody was reached last, and by which ways; null: nobody yet
    paged_at timestamptz,
    reached text[] not null default '{}',
    resolved_at timestamptz,
    -- the end is told, too
    told_resolved boolean not null default true,
    next_at timestamptz
);
create index pages_next on pages (next_at) where next_at is not null;

-- A matter is opened once; one that was resolved and comes back is a new one.
create function open_page(p_key text, p_sale_id uuid, p_title text, p_text text, p_severity text)
returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    insert into pages (key, sale_id, title, text, severity, opened_at, next_at)
    values (p_key, p_sale_id, p_title, p_text, p_severity, v_now, v_now)
    on conflict (key) do update set
        title = excluded.title, text = excluded.text, severity = excluded.severity, sale_id = excluded.sale_id,
        opened_at = v_now, paged_at = null, reached = '{}', resolved_at = null, told_resolved = true, next_at = v_now
    where pages.resolved_at is not null;
    return found;
end
$$;

create function resolve_page(p_key text, p_text text) returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    -- Who was never reached needs no all-clear.
    update pages set
        resolved_at = v_now, text = case when p_text = '' then text else p_text end,
        told_resolved = paged_at is null, next_at = case when paged_at is null then null else v_now end
    where key = p_key and resolved_at is null;
    return found;
end
$$;

create function claim_pages(p_lease_ms bigint, p_limit integer) returns setof pages language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    return query
    update pages set next_at = v_now + p_lease_ms * interval '1 millisecond'
    where key in (
            select key from pages where next_at <= v_now order by next_at limit p_limit for no key update skip locked
        )
        and next_at <= v_now
    returning *;
end
$$;
