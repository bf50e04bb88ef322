-- Who wants to be told of a sale, and what they are told. Read next: engine/notifying.py.

-- One row for an address, whoever uses it: what it says about being written to holds for every sale.
create table mail_addresses (
    email text primary key check (length(email) <= 254),
    -- names the address in links, so that a link shows nothing of it
    token uuid not null unique default gen_random_uuid(),
    unsubscribed_at timestamptz
);

create table waitlist (
    sale_id uuid not null references flash_sales,
    user_id text collate "C" not null check (length(user_id) between 1 and 200),
    email text references mail_addresses,
    joined_at timestamptz not null,
    primary key (sale_id, user_id)
);
-- Kept beside the rows, so that a page that shows it costs nothing.
create table waitlist_counts (
    sale_id uuid primary key references flash_sales,
    people bigint not null check (people >= 0)
);

create table notices (
    notice_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    user_id text collate "C" not null,
    kind text not null check (kind in ('1h', '5m', 'won', 'lost', 'aborted')),
    email text not null references mail_addresses,
    state text not null default 'pending'
        check (state in ('pending', 'sending', 'sent', 'refused', 'expired', 'unsubscribed', 'unknown')),
    attempts integer not null default 0,
    next_at timestamptz,
    expires_at timestamptz not null,
    lease uuid,
    words text not null default '',
    at timestamptz not null,
    unique (sale_id, user_id, kind),
    check ((next_at is null) = (state not in ('pending', 'sending')))
);
create index notices_next on notices (next_at, notice_id) where next_at is not null;

-- One row per call; the calls of one moment come together. `known`: the buyer was on the list before.
create function join_waitlist(p_sale_ids uuid[], p_user_ids text[], p_emails text[])
returns table (n bigint, known boolean) language plpgsql as $$
begin
    insert into mail_addresses (email)
    select distinct e from unnest(p_emails) as t (e) where e is not null order by e
    on conflict do nothing;
    return query
    with asked as (
        select t.n, t.sale_id, t.user_id, t.email
        from unnest(p_sale_ids, p_user_ids, p_emails) with ordinality as t (sale_id, user_id, email, n)
    ),
    joined as (
        insert into waitlist (sale_id, user_id, email, joined_at)
        select a.sale_id, a.user_id, a.email, clock_ms() from asked a order by a.sale_id, a.user_id
        on conflict (sale_id, user_id) do update set email = coalesce(excluded.email, waitlist.email)
        returning waitlist.sale_id, waitlist.user_id, xmax = 0 as fresh
    ),
    counted as (
        insert into waitlist_counts (sale_id, people)
        select j.sale_id, count(*) from joined j where j.fresh group by j.sale_id order by j.sale_id
        on conflict (sale_id) do update set people = waitlist_counts.people + excluded.people
    )
    select a.n, not j.fresh from asked a join joined j using (sale_id, user_id) order by a.n;
end
$$;

create function leave_waitlist(p_sale_id uuid, p_user_id text) returns boolean language plpgsql as $$
begin
    delete from waitlist where sale_id = p_sale_id and user_id = p_user_id;
    if not found then
        return false;
    end if;
    update waitlist_counts set people = people - 1 where sale_id = p_sale_id;
    return true;
end
$$;

-- One notice for everybody it is for, once: a second call adds those who came since.
create function queue_notices(p_sale_id uuid, p_kind text, p_expires_at timestamptz) returns bigint language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_made bigint;
begin
    insert into notices (sale_id, user_id, kind, email, next_at, expires_at, at)
    select w.sale_id, w.user_id, p_kind, w.email, v_now, p_expires_at, v_now
    from waitlist w
    join mail_addresses m on m.email = w.email and m.unsubscribed_at is null
    where w.sale_id = p_sale_id
        and (
            p_kind not in ('won', 'lost')
            or (p_kind = 'won') = exists (
                select from sale_orders o
                where o.sale_id = p_sale_id and o.user_id = w.user_id and o.status = 'PAID' and o.returned_at is null
            )
        )
    on conflict (sale_id, user_id, kind) do nothing;
    get diagnostics v_made = row_count;
    return v_made;
end
$$;

-- What is to be sent now. A notice whose sender was not heard of again may have been sent: it is never sent twice.
create function claim_notices(p_lease uuid, p_lease_ms bigint, p_limit integer)
returns table (
    notice_id bigint, sale_id uuid, user_id text, kind text, email text, attempts integer, token uuid
) language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now timestamptz := clock_ms();
begin
    update notices t set
        state = case when t.state = 'sending' then 'unknown' when m.unsubscribed_at is null then 'expired' else 'unsubscribed' end,
        next_at = null, lease = null,
        words = case when t.state = 'sending' then 'the sender was stopped in the middle' else '' end
    from mail_addresses m
    where m.email = t.email and t.next_at <= v_now
        and (t.state = 'sending' or t.expires_at <= v_now or m.unsubscribed_at is not null);
    return query
    with claimed as (
        update notices t set
            state = 'sending', attempts = t.attempts + 1, lease = p_lease,
            next_at = v_now + p_lease_ms * interval '1 millisecond'
        where t.notice_id in (
                select o.notice_id from notices o
                where o.next_at <= v_now and o.state = 'pending'
                order by o.next_at, o.notice_id
                limit p_limit
                for no key update skip locked
            )
            and t.state = 'pending'
        returning t.notice_id, t.sale_id, t.user_id, t.kind, t.email, t.attempts
    )
    select c.notice_id, c.sale_id, c.user_id, c.kind, c.email, c.attempts, m.token
    from claimed c join mail_addresses m on m.email = c.email
    order by c.notice_id;
end
$$;

-- How sending went. `p_pauses`: milliseconds until the next try of those that go back to pending.
create function record_notices(p_lease uuid, p_ids bigint[], p_states text[], p_words text[], p_pauses bigint[])
returns bigint language plpgsql as $$
declare
    v_count bigint;
begin
    update notices t set
        state = r.state, lease = null, words = r.words,
        next_at = case when r.state = 'pending' then clock_ms() + r.pause * interval '1 millisecond' end
    from unnest(p_ids, p_states, p_words, p_pauses) as r (id, state, words, pause)
    where t.notice_id = r.id and t.lease = p_lease;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;
