-- Who is told of a sale by web push. A browser is a row as an address of mail is one. Read next: engine/notifying.py.

create table push_subscriptions (
    endpoint text collate "C" primary key check (length(endpoint) <= 2000),
    p256dh text not null,
    auth text not null,
    -- its push service said that the browser wants no more; asked for anew, it does again
    gone_at timestamptz
);
alter table waitlist add column push_endpoint text collate "C" references push_subscriptions;

alter table notices add column channel text not null default 'mail' check (channel in ('mail', 'push'));
alter table notices add column push_endpoint text collate "C" references push_subscriptions;
alter table notices alter column email drop not null;
alter table notices add check (num_nonnulls(email, push_endpoint) = 1 and (channel = 'mail') = (email is not null));
alter table notices drop constraint notices_sale_id_user_id_kind_key;
alter table notices add unique (sale_id, user_id, kind, channel);
drop index notices_next;
create index notices_next on notices (channel, next_at, notice_id) where next_at is not null;

drop function join_waitlist(uuid[], text[], text[]);
-- One row per call; the calls of one moment come together. `known`: the buyer was on the list before.
create function join_waitlist(
    p_sale_ids uuid[], p_user_ids text[], p_emails text[], p_endpoints text[], p_p256dhs text[], p_auths text[]
) returns table (n bigint, known boolean) language plpgsql as $$
begin
    insert into mail_addresses (email)
    select distinct e from unnest(p_emails) as t (e) where e is not null order by e
    on conflict do nothing;
    insert into push_subscriptions (endpoint, p256dh, auth)
    select distinct on (t.endpoint) t.endpoint, t.p256dh, t.auth
    from unnest(p_endpoints, p_p256dhs, p_auths) with ordinality as t (endpoint, p256dh, auth, n)
    where t.endpoint is not null
    order by t.endpoint, t.n desc
    on conflict (endpoint) do update set p256dh = excluded.p256dh, auth = excluded.auth, gone_at = null;
    return query
    with asked as (
        select t.n, t.sale_id, t.user_id, t.email, t.endpoint
        from unnest(p_sale_ids, p_user_ids, p_emails, p_endpoints)
            with ordinality as t (sale_id, user_id, email, endpoint, n)
    ),
    joined as (
        insert into waitlist (sale_id, user_id, email, push_endpoint, joined_at)
        select a.sale_id, a.user_id, a.email, a.endpoint, clock_ms() from asked a order by a.sale_id, a.user_id
        on conflict (sale_id, user_id) do update set
            email = coalesce(excluded.email, waitlist.email),
            push_endpoint = coalesce(excluded.push_endpoint, waitlist.push_endpoint)
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

-- One notice on each channel for everybody it is for, once: a second call adds those who came since.
create or replace function queue_notices(p_sale_id uuid, p_kind text, p_expires_at timestamptz) returns bigint
language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_made bigint;
begin
    insert into notices (sale_id, user_id, kind, channel, email, push_endpoint, next_at, expires_at, at)
    select p_sale_id, t.user_id, p_kind, t.channel, t.email, t.endpoint, v_now, p_expires_at, v_now
    from (
        select w.user_id, 'mail' as channel, w.email, null as endpoint
        from waitlist w
        join mail_addresses m on m.email = w.email and m.unsubscribed_at is null
        where w.sale_id = p_sale_id
        union all
        select w.user_id, 'push', null, w.push_endpoint
        from waitlist w
        join push_subscriptions s on s.endpoint = w.push_endpoint and s.gone_at is null
        where w.sale_id = p_sale_id
    ) t
    where p_kind not in ('won', 'lost')
        or (p_kind = 'won') = exists (
            select from sale_orders o
            where o.sale_id = p_sale_id and o.user_id = t.user_id and o.status = 'PAID' and o.returned_at is null
        )
    on conflict (sale_id, user_id, kind, channel) do nothing;
    get diagnostics v_made = row_count;
    return v_made;
end
$$;

drop function claim_notices(uuid, bigint, integer);
-- What is to be sent now. A notice whose sender was not heard of again may have been sent: it is never sent twice.
-- Looks at as many rows as it may take, however many wait behind them; rows that are only closed do not count.
create function claim_notices(p_lease uuid, p_channel text, p_lease_ms bigint, p_limit integer)
returns table (
    notice_id bigint, sale_id uuid, user_id text, kind text, expires_at timestamptz, attempts integer,
    email text, token uuid, endpoint text, p256dh text, auth text
) language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now timestamptz := clock_ms();
    v_due bigint[];
begin
    for v_round in 1..100 loop
        v_due := array(
            select n.notice_id from notices n
            where n.channel = p_channel and n.next_at <= v_now
            order by n.next_at, n.notice_id
            limit p_limit
            for no key update skip locked
        );
        exit when cardinality(v_due) = 0;
        update notices t set
            state = case when t.state = 'sending' then 'unknown' when d.unsubscribed then 'unsubscribed' else 'expired' end,
            next_at = null, lease = null,
            words = case when t.state = 'sending' then 'the sender was stopped in the middle' else '' end
        from (
            select n.notice_id,
                coalesce(m.unsubscribed_at, s.gone_at) is not null as unsubscribed
            from notices n
            left join mail_addresses m on m.email = n.email
            left join push_subscriptions s on s.endpoint = n.push_endpoint
            where n.notice_id = any(v_due)
        ) d
        where t.notice_id = d.notice_id and (t.state = 'sending' or t.expires_at <= v_now or d.unsubscribed);
        return query
        with claimed as (
            update notices t set
                state = 'sending', attempts = t.attempts + 1, lease = p_lease,
                next_at = v_now + p_lease_ms * interval '1 millisecond'
            where t.notice_id = any(v_due) and t.state = 'pending'
            returning t.*
        )
        select c.notice_id, c.sale_id, c.user_id, c.kind, c.expires_at, c.attempts,
            c.email, m.token, s.endpoint, s.p256dh, s.auth
        from claimed c
        left join mail_addresses m on m.email = c.email
        left join push_subscriptions s on s.endpoint = c.push_endpoint
        order by c.notice_id;
        exit when found;
    end loop;
end
$$;

-- How sending went. `p_pauses`: milliseconds until the next try of those that go back to pending.
-- A browser that was `unsubscribed` is gone for every sale.
create or replace function record_notices(
    p_lease uuid, p_ids bigint[], p_states text[], p_words text[], p_pauses bigint[]
) returns bigint language plpgsql as $$
declare
    v_count bigint;
begin
    update push_subscriptions s set gone_at = coalesce(s.gone_at, clock_ms())
    from unnest(p_ids, p_states) as r (id, state)
    join notices t on t.notice_id = r.id and t.lease = p_lease
    where r.state = 'unsubscribed' and s.endpoint = t.push_endpoint;
    update notices t set
        state = r.state, lease = null, words = r.words,
        next_at = case when r.state = 'pending' then clock_ms() + r.pause * interval '1 millisecond' end
    from unnest(p_ids, p_states, p_words, p_pauses) as r (id, state, words, pause)
    where t.notice_id = r.id and t.lease = p_lease;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;
