-- What operators and relays do with endpoints and deliveries. Locks: an endpoint's row, or deliveries in the order of
-- their numbers; nothing here touches a sale.

create view delivery_view as
select
    d.delivery_id, d.endpoint_id, d.event_id, d.type, d.aggregate_id, ms(d.at) as event_ms, d.data::text as data,
    d.state, d.attempts, ms(d.next_at) as next_ms,
    ms(d.last_at) as last_ms, d.last_status, d.last_error, d.last_body, d.last_took_ms
from webhook_deliveries d;

create view endpoint_view as
select
    e.endpoint_id, e.url, e.description, e.event_types, e.enabled, e.disabled_reason,
    ms(e.created_at) as created_ms, ms(e.updated_at) as updated_ms,
    (
        select ms(max(s.valid_until)) from webhook_secrets s
        where s.endpoint_id = e.endpoint_id and s.valid_until > clock_timestamp()
    ) as old_secret_until_ms
from webhook_endpoints e;

-- Secrets that sign now, the present one first.
create function signing_secrets(p_endpoint_id uuid) returns text[] language sql stable
return array(
    select s.secret from webhook_secrets s
    where s.endpoint_id = p_endpoint_id and (s.valid_until is null or s.valid_until > clock_timestamp())
    order by s.valid_until desc nulls first, s.secret_id desc
);

-- What a relay needs for one attempt.
create view claimed_view as
select d.*, e.url, signing_secrets(e.endpoint_id) as secrets
from delivery_view d
join webhook_endpoints e on e.endpoint_id = d.endpoint_id;

-- A new present secret; those before it sign until then. Of old ones the youngest three are kept.
create function new_secret(p_endpoint_id uuid, p_old_until timestamptz) returns text language plpgsql as $$
declare
    v_secret text := 'whsec_' || encode(
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'
    );
begin
    update webhook_secrets set valid_until = p_old_until where endpoint_id = p_endpoint_id and valid_until is null;
    delete from webhook_secrets s
    where s.endpoint_id = p_endpoint_id and (
        s.valid_until <= clock_timestamp()
        or s.secret_id not in (
            select k.secret_id from webhook_secrets k
            where k.endpoint_id = p_endpoint_id
            order by k.secret_id desc
            limit 3
        )
    );
    insert into webhook_secrets (endpoint_id, secret) values (p_endpoint_id, v_secret);
    return v_secret;
end
$$;

-- Deliveries that are due, at most `p_most` at a time for one endpoint with those that `p_busy` counts, claimed until the
-- lease is over. Of one order, or one sale, the first alone (also while another relay has it). Two relays at once share
-- the work: each skips what the other has locked. Committed lazily: a claim that is lost is claimed again.
create function claim_deliveries(p_most integer, p_endpoints uuid[], p_busy integer[], p_lease_ms bigint)
returns setof claimed_view language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_endpoint record;
    v_room integer;
    v_due bigint[];
    v_ids bigint[];
begin
    perform set_config('synchronous_commit', 'off', true);
    for v_endpoint in
        select e.endpoint_id, p_most - coalesce(b.busy, 0) as room
        from webhook_endpoints e
        left join unnest(p_endpoints, p_busy) as b (endpoint_id, busy) on b.endpoint_id = e.endpoint_id
        where e.enabled
    loop
        v_room := v_endpoint.room;
        while v_room > 0 loop
            v_due := array(
                select d.delivery_id from webhook_deliveries d
                where d.endpoint_id = v_endpoint.endpoint_id and d.state = 'pending' and d.next_at <= v_now
                order by d.next_at, d.delivery_id
                limit v_room
                for no key update skip locked
            );
            exit when cardinality(v_due) = 0;
            -- Behind another one of its order: it is looked at again when that one is.
            update webhook_deliveries d
            set next_at = case
                when b.sending then v_now + interval '1 second'
                else greatest(b.next_at, v_now + interval '1 ms')
            end
            from (
                select w.delivery_id as id, f.sending, f.next_at
                from unnest(v_due) as t (id)
                join webhook_deliveries w on w.delivery_id = t.id
                cross join lateral (
                    select * from webhook_deliveries x
                    where x.endpoint_id = v_endpoint.endpoint_id and x.aggregate_id = w.aggregate_id
                        and x.state = 'pending' and x.delivery_id < w.delivery_id
                    order by x.delivery_id
                    limit 1
                ) f
            ) b
            where d.delivery_id = b.id;
            with claimed as (
                update webhook_deliveries d
                set sending = true, attempts = d.attempts + 1, next_at = v_now + p_lease_ms * interval '1 millisecond'
                where d.delivery_id = any(v_due) and d.next_at <= v_now and d.state = 'pending'
                returning d.delivery_id
            )
            select coalesce(array_agg(delivery_id), '{}') into v_ids from claimed;
            v_room := v_room - cardinality(v_ids);
            return query select * from claimed_view c where c.delivery_id = any(v_ids) order by c.delivery_id;
        end loop;
    end loop;
end
$$;

-- How attempts went. Repeating it changes nothing. A success counts whoever has the row by now; anything else only from
-- the relay that made the latest attempt. What waited behind a delivery that is over is due at once.
create function record_deliveries(
    p_ids bigint[], p_attempts integer[], p_words text[], p_pause_ms bigint[],
    p_statuses integer[], p_errors text[], p_bodies text[], p_took_ms integer[]
) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz := clock_ms();
    v_closed bigint[];
begin
    perform from webhook_deliveries where delivery_id = any(p_ids) order by delivery_id for no key update;
    with recorded as (
        update webhook_deliveries d
        set state = case when r.word in ('delivered', 'dead') then r.word else 'pending' end,
            closed_at = case when r.word in ('delivered', 'dead') then v_now end,
            sending = false,
            next_at = v_now + r.pause_ms * interval '1 millisecond',
            last_at = v_now, last_status = r.status, last_error = r.error, last_body = r.body, last_took_ms = r.took_ms
        from unnest(p_ids, p_attempts, p_words, p_pause_ms, p_statuses, p_errors, p_bodies, p_took_ms)
            as r (id, attempt, word, pause_ms, status, error, body, took_ms)
        where d.delivery_id = r.id and d.state = 'pending'
            and (r.word = 'delivered' or d.attempts = r.attempt and d.sending)
        returning d.delivery_id, d.state
    )
    select array_agg(delivery_id) filter (where state <> 'pending') into v_closed from recorded;
    update webhook_deliveries n set next_at = v_now
    where not n.sending and n.state = 'pending' and n.attempts = 0 and n.delivery_id in (
        select f.delivery_id
        from webhook_deliveries d
        cross join lateral (
            select x.delivery_id from webhook_deliveries x
            where x.endpoint_id = d.endpoint_id and x.aggregate_id = d.aggregate_id and x.state = 'pending'
            order by x.delivery_id
            limit 1
        ) f
        where d.delivery_id = any(v_closed)
    );
    -- 410: the receiver says that it is not there any more and will not be.
    update webhook_endpoints e
    set enabled = false, disabled_reason = 'it answered 410 Gone', updated_at = v_now
    where e.enabled and e.endpoint_id in (
        select d.endpoint_id from unnest(p_ids, p_statuses) as r (id, status)
        join webhook_deliveries d on d.delivery_id = r.id
        where r.status = 410
    );
end
$$;

-- Once more from the start, as if it had just happened. Words: ok, not_found, conflict (nobody would send it).
create function resend_delivery(p_delivery_id bigint) returns text language plpgsql as $$
declare
    v_endpoint uuid;
begin
    perform make_it_last();
    select endpoint_id into v_endpoint from webhook_deliveries where delivery_id = p_delivery_id;
    if not exists (select from webhook_endpoints e where e.endpoint_id = v_endpoint) then
        return 'not_found';
    end if;
    if not exists (select from webhook_endpoints e where e.endpoint_id = v_endpoint and e.enabled) then
        return 'conflict';
    end if;
    update webhook_deliveries
    set state = 'pending', closed_at = null, attempts = 0, next_at = clock_ms()
    where delivery_id = p_delivery_id and not sending;
    return 'ok';
end
$$;

create function resend_dead(p_endpoint_id uuid) returns integer language plpgsql as $$
declare
    v_count integer;
begin
    perform make_it_last();
    update webhook_deliveries
    set state = 'pending', closed_at = null, attempts = 0, next_at = clock_ms()
    where endpoint_id = p_endpoint_id and state = 'dead';
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Delivered 30 days ago, dead for 90, of an endpoint that was disabled for 30, or is gone.
create function prune_deliveries(p_limit integer) returns integer language plpgsql
set enable_seqscan = off
as $$
declare
    v_month timestamptz := clock_timestamp() - interval '30 days';
    v_quarter timestamptz := clock_timestamp() - interval '90 days';
    v_over bigint[];
    v_endpoint uuid := '00000000-0000-0000-0000-000000000000';
    v_count integer;
begin
    perform set_config('synchronous_commit', 'off', true);
    v_over := array(
        select d.delivery_id from webhook_deliveries d
        where d.state <> 'pending' and d.closed_at < v_month
            and (d.state = 'delivered' or d.closed_at < v_quarter)
        order by d.closed_at
        limit p_limit
        for update skip locked
    );
    loop
        -- From one endpoint that something waits for to the next: a step in the index each, however much waits.
        select d.endpoint_id into v_endpoint from webhook_deliveries d
        where d.state = 'pending' and d.endpoint_id > v_endpoint
        order by d.endpoint_id
        limit 1;
        exit when not found;
        continue when exists (select from webhook_endpoints e where e.endpoint_id = v_endpoint and e.enabled);
        v_over := v_over || array(
            select d.delivery_id from webhook_deliveries d
            where d.state = 'pending' and d.endpoint_id = v_endpoint and (
                d.next_at < v_month
                or not exists (select from webhook_endpoints e where e.endpoint_id = v_endpoint)
            )
            order by d.next_at
            limit p_limit
            for update skip locked
        );
    end loop;
    delete from webhook_deliveries where delivery_id = any(v_over);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- The secret of a new endpoint; null if there are too many already, or this one is.
create function create_endpoint(
    p_endpoint_id uuid, p_url text, p_description text, p_event_types text[], p_enabled boolean, p_most integer
) returns text language plpgsql as $$
begin
    perform make_it_last();
    lock table webhook_endpoints in share row exclusive mode;  -- two at once are counted one after the other
    if (select count(*) from webhook_endpoints) >= p_most then
        return null;
    end if;
    insert into webhook_endpoints (endpoint_id, url, description, event_types, enabled, created_at, updated_at)
    values (p_endpoint_id, p_url, p_description, p_event_types, p_enabled, clock_ms(), clock_ms())
    on conflict do nothing;
    return case when found then new_secret(p_endpoint_id, null) end;
end
$$;

-- Null leaves a value as it is.
create function change_endpoint(
    p_endpoint_id uuid, p_url text, p_description text, p_event_types text[], p_enabled boolean
) returns void language plpgsql as $$
begin
    perform make_it_last();
    update webhook_endpoints
    set url = coalesce(p_url, url),
        description = coalesce(p_description, description),
        event_types = coalesce(p_event_types, event_types),
        enabled = coalesce(p_enabled, enabled),
        disabled_reason = case when p_enabled is null then disabled_reason else '' end,
        updated_at = clock_ms()
    where endpoint_id = p_endpoint_id;
end
$$;

create function delete_endpoint(p_endpoint_id uuid) returns boolean language plpgsql as $$
begin
    perform make_it_last();
    delete from webhook_endpoints where endpoint_id = p_endpoint_id;
    if not found then
        return false;
    end if;
    delete from webhook_deliveries where endpoint_id = p_endpoint_id;
    return true;
end
$$;

-- A new secret; the one before signs beside it for so long. Null: there is no such endpoint.
create function rotate_secret(p_endpoint_id uuid, p_overlap_ms bigint) returns text language plpgsql as $$
begin
    perform make_it_last();
    perform from webhook_endpoints where endpoint_id = p_endpoint_id for update;
    return case
        when found then new_secret(p_endpoint_id, clock_ms() + p_overlap_ms * interval '1 millisecond')
    end;
end
$$;
