-- What is told of a sale follows the sale and those who asked for it. Read next: engine/notifying.py.

-- Which start a reminder is of: a sale that is put off reminds anew. Others are of none.
alter table notices add column start_time timestamptz not null default 'epoch';
update notices n set start_time = s.start_time
from flash_sales s
where s.sale_id = n.sale_id and s.status = 'SCHEDULED' and n.kind in ('1h', '5m');
alter table notices drop constraint notices_sale_id_user_id_kind_channel_key;
alter table notices add unique (sale_id, user_id, kind, channel, start_time);

-- What is only good for a while goes before results, however many of those wait.
create index notices_soon on notices (channel, next_at, notice_id)
    where next_at is not null and kind in ('1h', '5m', 'aborted');
create index notices_lease on notices (lease) where lease is not null;
create index notices_fate on notices (sale_id, kind, channel, state);

-- One address however it is spelled.
create index mail_addresses_lower on mail_addresses (lower(email));
update mail_addresses m set unsubscribed_at = o.at
from (
    select lower(email) as address, min(unsubscribed_at) as at
    from mail_addresses where unsubscribed_at is not null group by lower(email)
) o
where lower(m.email) = o.address and m.unsubscribed_at is null;

-- As before, but an address that is there in another spelling is that one.
create or replace function join_waitlist(
    p_sale_ids uuid[], p_user_ids text[], p_emails text[], p_endpoints text[], p_p256dhs text[], p_auths text[]
) returns table (n bigint, known boolean) language plpgsql as $$
begin
    insert into mail_addresses (email)
    select distinct on (lower(e)) e from unnest(p_emails) as t (e)
    where e is not null and not exists (select from mail_addresses m where lower(m.email) = lower(e))
    order by lower(e), e
    on conflict do nothing;
    insert into push_subscriptions (endpoint, p256dh, auth)
    select distinct on (t.endpoint) t.endpoint, t.p256dh, t.auth
    from unnest(p_endpoints, p_p256dhs, p_auths) with ordinality as t (endpoint, p256dh, auth, n)
    where t.endpoint is not null
    order by t.endpoint, t.n desc
    on conflict (endpoint) do update set p256dh = excluded.p256dh, auth = excluded.auth, gone_at = null;
    return query
    with asked as (
        select t.n, t.sale_id, t.user_id, t.endpoint,
            (
                select m.email from mail_addresses m where lower(m.email) = lower(t.email)
                order by m.unsubscribed_at nulls last, m.email limit 1
            ) as email
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

-- One notice on each channel for everybody it is for, once: a second call adds those who came since. Several buyers with
-- one address or one browser are told as one.
create function queue_notices(p_sale_id uuid, p_kind text, p_expires_at timestamptz, p_start_time timestamptz)
returns bigint language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_start timestamptz := 'epoch';
    v_made bigint;
begin
    if p_kind in ('1h', '5m') then
        v_start := coalesce(p_start_time, (select s.start_time from flash_sales s where s.sale_id = p_sale_id));
    end if;
    insert into notices (sale_id, user_id, kind, channel, email, push_endpoint, next_at, expires_at, start_time, at)
    select p_sale_id, d.user_id, p_kind, d.channel, d.email, d.endpoint, v_now, p_expires_at, v_start, v_now
    from (
        select distinct on (t.channel, t.address) t.*
        from (
            select w.user_id, 'mail' as channel, w.email, null as endpoint, lower(w.email) as address
            from waitlist w
            join mail_addresses m on m.email = w.email and m.unsubscribed_at is null
            where w.sale_id = p_sale_id
            union all
            select w.user_id, 'push', null, w.push_endpoint, w.push_endpoint
            from waitlist w
            join push_subscriptions s on s.endpoint = w.push_endpoint and s.gone_at is null
            where w.sale_id = p_sale_id
        ) t
        where (
                p_kind not in ('won', 'lost')
                or (p_kind = 'won') = exists (
                    select from sale_orders o
                    where o.sale_id = p_sale_id and o.user_id = t.user_id and o.status = 'PAID' and o.returned_at is null
                )
            )
            and not exists (
                select from notices n
                where n.sale_id = p_sale_id and n.kind = p_kind and n.channel = t.channel and n.start_time = v_start
                    and coalesce(lower(n.email), n.push_endpoint) = t.address
            )
        order by t.channel, t.address, t.user_id
    ) d
    order by d.user_id
    on conflict (sale_id, user_id, kind, channel, start_time) do nothing;
    get diagnostics v_made = row_count;
    return v_made;
end
$$;
-- For workers of the release before.
create or replace function queue_notices(p_sale_id uuid, p_kind text, p_expires_at timestamptz) returns bigint
language sql as $$
    select queue_notices(p_sale_id, p_kind, p_expires_at, null)
$$;

-- What is to be sent now, in place of claim_notices, which workers of the release before still call. A notice whose
-- sender was not heard of again may have been sent: it is never sent twice. Asked again with one lease, it gives what
-- that lease has: the answer before was lost, so nothing of it was sent.
-- Looks at as many rows as it may take, however many wait behind them; rows that are only closed do not count.
create function take_notices(p_lease uuid, p_channel text, p_lease_ms bigint, p_limit integer)
returns table (
    notice_id bigint, sale_id uuid, user_id text, kind text, expires_at timestamptz, start_time timestamptz,
    attempts integer, email text, token uuid, endpoint text, p256dh text, auth text
) language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now timestamptz := clock_ms();
    v_until timestamptz := v_now + p_lease_ms * interval '1 millisecond';
    v_due bigint[];
    v_taken bigint[];
begin
    with again as (
        update notices t set next_at = v_until where t.lease = p_lease and t.state = 'sending' returning t.notice_id
    )
    select array_agg(a.notice_id) into v_taken from again a;
    for v_round in 1..100 loop
        exit when v_taken is not null;
        v_due := array(
            select n.notice_id from notices n
            where n.channel = p_channel and n.next_at <= v_now and n.kind in ('1h', '5m', 'aborted')
            order by n.next_at, n.notice_id
            limit p_limit
            for no key update skip locked
        );
        if cardinality(v_due) < p_limit then
            v_due := v_due || array(
                select n.notice_id from notices n
                where n.channel = p_channel and n.next_at <= v_now and n.kind in ('won', 'lost')
                order by n.next_at, n.notice_id
                limit p_limit - cardinality(v_due)
                for no key update skip locked
            );
        end if;
        exit when cardinality(v_due) = 0;
        update notices t set state = d.closed, next_at = null, lease = null, words = d.words
        from (
            select o.notice_id, c.closed,
                case c.closed when 'unknown' then 'the sender was stopped in the middle' else '' end as words
            from notices o
            join flash_sales s on s.sale_id = o.sale_id
            left join waitlist w on w.sale_id = o.sale_id and w.user_id = o.user_id
            left join mail_addresses m on o.channel = 'mail' and m.email = w.email and m.unsubscribed_at is null
            left join push_subscriptions p
                on o.channel = 'push' and p.endpoint = w.push_endpoint and p.gone_at is null
            cross join lateral (
                select case
                    when o.state = 'sending' then 'unknown'
                    when m.email is null and p.endpoint is null then 'unsubscribed'
                    when o.expires_at <= v_now then 'expired'
                    when o.kind in ('1h', '5m') and (s.status <> 'SCHEDULED' or s.start_time <> o.start_time) then 'expired'
                end as closed
            ) c
            where o.notice_id = any(v_due)
        ) d
        where t.notice_id = d.notice_id and d.closed is not null;
        -- To where its buyer wants it now.
        with claimed as (
            update notices t set
                state = 'sending', attempts = t.attempts + 1, lease = p_lease, next_at = v_until,
                email = case t.channel when 'mail' then w.email end,
                push_endpoint = case t.channel when 'push' then w.push_endpoint end
            from waitlist w
            where t.notice_id = any(v_due) and t.state = 'pending' and w.sale_id = t.sale_id and w.user_id = t.user_id
            returning t.notice_id
        )
        select array_agg(c.notice_id) into v_taken from claimed c;
    end loop;
    return query
    select n.notice_id, n.sale_id, n.user_id, n.kind, n.expires_at, n.start_time, n.attempts,
        n.email, m.token, p.endpoint, p.p256dh, p.auth
    from notices n
    left join mail_addresses m on m.email = n.email
    left join push_subscriptions p on p.endpoint = n.push_endpoint
    where n.notice_id = any(v_taken)
    order by n.notice_id;
end
$$;

-- As before, and `p_counts`: whether the try counts as one.
create function record_notices(
    p_lease uuid, p_ids bigint[], p_states text[], p_words text[], p_pauses bigint[], p_counts boolean[]
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
        attempts = t.attempts - case when r.counts then 0 else 1 end,
        next_at = case when r.state = 'pending' then clock_ms() + r.pause * interval '1 millisecond' end
    from unnest(p_ids, p_states, p_words, p_pauses, p_counts) as r (id, state, words, pause, counts)
    where t.notice_id = r.id and t.lease = p_lease;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;
create or replace function record_notices(
    p_lease uuid, p_ids bigint[], p_states text[], p_words text[], p_pauses bigint[]
) returns bigint language sql as $$
    select record_notices(p_lease, p_ids, p_states, p_words, p_pauses, array_fill(true, array[cardinality(p_ids)]))
$$;
