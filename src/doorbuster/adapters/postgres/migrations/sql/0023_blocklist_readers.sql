-- Whoever asks whether somebody is blocked, or copies and removes a list: by pages from here on.

-- As in 0005; a blocked buyer is looked up in one page.
create or replace function commit_holds(
    p_sale_id uuid, p_epoch bigint, p_tick bigint,
    p_ids uuid[], p_users text[], p_quantities integer[], p_keys text[], p_digests text[],
    p_numbers bigint[] default null  -- of grants; null, or 0 in a row: taken in a race
) returns table (word text, since_ms bigint, until_ms bigint, price_cents bigint, sale_currency text, shown order_view)
language plpgsql
-- A plan made while a table was empty is kept: it must not be a scan of what has a million rows by now. The look-ups
-- are lateral with a limit for the same reason: one index probe per hold is then the only plan there is.
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_sale flash_sales;
    v_now timestamptz;
    v_ends timestamptz;
    v_refusal text;
    v_run record;
    v_hold record;
    v_word text;
    v_words text[] := '{}';
    v_owners uuid[] := '{}';
    v_fresh boolean[] := '{}';
    v_new integer := 0;
    v_units integer := 0;
    v_known boolean;
    v_buyers boolean;
    v_blocks boolean;
    v_numbered boolean := p_numbers is not null;
    v_taken bigint[];
    v_mark bigint := 0;
    v_over_limit integer;
    v_log record;
begin
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);  -- I4
    end if;

    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return query select 'over'::text, null::bigint, null::bigint, null::bigint, null::text, null::order_view from unnest(p_ids);
        return;
    end if;

    if exists (select from unnest(p_ids) i group by i having count(*) > 1)
        or exists (select from unnest(p_users) u group by u having count(*) > 1)
        or exists (select from unnest(p_numbers) u where u > 0 group by u having count(*) > 1) then
        -- What a run makes is seen by the next: one buyer's holds are decided one after the other (I6).
        for v_run in select * from runs_of(p_ids, p_users, p_numbers) loop
            return query select * from commit_holds(
                p_sale_id, p_epoch, p_tick,
                p_ids[v_run.first:v_run.last], p_users[v_run.first:v_run.last], p_quantities[v_run.first:v_run.last],
                p_keys[v_run.first:v_run.last], p_digests[v_run.first:v_run.last],
                p_numbers[v_run.first:v_run.last]
            );
        end loop;
        return;
    end if;

    v_now := clock_ms();
    v_ends := v_now + make_interval(secs => v_sale.checkout_ttl_seconds);  -- I11
    v_refusal := case
        when v_sale.epoch <> p_epoch then 'stale_epoch'  -- I12
        when v_sale.status = 'PAUSED' then 'paused'
        when v_sale.status in ('ENDED', 'CANCELLED') or v_now >= v_sale.end_time then 'over'
        when v_now < v_sale.start_time then 'not_started'
    end;

    -- A crowd is mostly strangers: three probes for the whole batch say which look-ups are worth making for each hold.
    v_known := exists (select from sale_orders o where o.order_id = any(p_ids));
    v_buyers := exists (
        select from user_sale_eligibility a where a.sale_id = p_sale_id and a.user_id = any(p_users)
    );
    v_blocks := exists (select from blocklist_pages l where l.sale_id = p_sale_id);
    if v_numbered then
        v_taken := array(
            select o.line_number from sale_orders o
            where o.sale_id = p_sale_id and o.line_number = any(p_numbers)
        );
    end if;

    for v_hold in
        select
            h.id, h.quantity, h.digest,
            same.order_id is not null as known, same.idempotency_key is null or same.sale_id <> p_sale_id as dead,
            keyed.order_id as keyed_id, keyed.body_digest as keyed_digest,
            coalesce(e.quantity_purchased, 0) as units,
            coalesce(e.lapsed_holds, 0) as lapsed,
            v_blocks and is_blocked(p_sale_id, h.user_id) as blocked,
            h.number,
            length(h.user_id) between 1 and 200 as nameable
        from unnest(p_ids, p_users, p_quantities, p_keys, p_digests, p_numbers)
            with ordinality as h (id, user_id, quantity, key, digest, number, n)
        left join lateral (select * from sale_orders o where v_known and o.order_id = h.id limit 1) same on true
        left join lateral (
            select * from user_sale_eligibility a
            where v_buyers and a.sale_id = p_sale_id and a.user_id = h.user_id
            limit 1
        ) e on true
        -- Every order left its buyer's allowance behind: without one there is no key to look for.
        left join lateral (
            select * from sale_orders o
            where e.user_id is not null
                and o.sale_id = p_sale_id and o.user_id = h.user_id and o.idempotency_key = h.key
            limit 1
        ) keyed on true
        order by h.n
    loop
        v_word := case
            when v_hold.known then case when v_hold.dead then 'tombstoned' else 'committed' end
            when v_hold.keyed_id is not null
                then case when v_hold.keyed_digest = v_hold.digest then 'seen' else 'mismatch' end  -- I5
            when v_refusal is not null then v_refusal
            when v_hold.blocked then 'blocked'
            when v_hold.quantity < 1 or v_hold.units + v_hold.quantity > v_sale.per_user_limit then 'limit'  -- I6
            when v_hold.lapsed >= v_sale.max_lapsed_holds then 'lapsed'
            when not v_hold.nameable then 'limit'
            -- I10: granted to somebody else, or its key had found it. Q6: ended.
            when v_hold.number > 0 and (v_hold.number = any(v_taken) or v_hold.number <= v_sale.ended_number)
                then 'limit'
            when v_hold.number > v_sale.number_high then 'no_stock'  -- Q2
            when v_sale.quantity_sold + v_units + v_hold.quantity > v_sale.quantity_available then 'no_stock'  -- I1
            else 'new'
        end;
        v_words := v_words || replace(v_word, 'new', 'committed');
        v_owners := v_owners || case when v_hold.known then v_hold.id else v_hold.keyed_id end;
        v_fresh := v_fresh || (v_word = 'new');
        if v_word = 'new' then
            v_new := v_new + 1;
            v_units := v_units + v_hold.quantity;
        end if;
    end loop;

    if v_new > 0 then
        insert into sale_orders (
            order_id, sale_id, user_id, quantity, amount_cents, currency, status,
            reserved_at, expires_at, idempotency_key, body_digest, line_number
        )
        select
            id, p_sale_id, user_id, quantity, quantity * v_sale.price_cents, v_sale.currency, 'RESERVED',
            v_now, v_ends, key, digest, case when number > 0 then number end
        from unnest(p_ids, p_users, p_quantities, p_keys, p_digests, p_numbers)
            with ordinality as h (id, user_id, quantity, key, digest, number, n)
        where v_fresh[n];  -- I5: the unique indexes are the guard, the look-up above only finds the words

        insert into user_sale_eligibility as e (user_id, sale_id, quantity_purchased, purchased_at)
        select user_id, p_sale_id, quantity, v_now
        from unnest(p_users, p_quantities) with ordinality as h (user_id, quantity, n)
        where v_fresh[n] and quantity <= v_sale.per_user_limit
        on conflict (sale_id, user_id) do update
        set quantity_purchased = e.quantity_purchased + excluded.quantity_purchased, purchased_at = v_now
        where e.quantity_purchased + excluded.quantity_purchased <= v_sale.per_user_limit;  -- I6
        get diagnostics v_over_limit = row_count;
        v_over_limit := v_new - v_over_limit;

        select * into v_log from append_log(
            v_sale, 'reserved',
            array(select id from unnest(p_ids, v_fresh) with ordinality as h (id, fresh, n) where fresh order by n),
            array(select q from unnest(p_quantities, v_fresh) with ordinality as h (q, fresh, n) where fresh order by n),
            p_epoch, v_now
        );
        v_sale.log_head := v_log.head;
        v_sale.log_size := v_log.size;
    end if;
    if v_numbered and v_new > 0 then
        v_mark := (select max(number) from unnest(p_numbers, v_fresh) as h (number, fresh) where fresh);
    end if;
    if v_new > 0 and v_sale.mode <> 'race' then
        perform count_pulse(p_sale_id, v_now, v_new, 0);
    end if;

    update flash_sales set
        quantity_sold = quantity_sold + v_units,
        status = case
            when v_units = 0 then status
            when quantity_sold + v_units = quantity_available then 'SOLD_OUT'
            else 'ACTIVE'
        end,
        tick_seen = case when epoch = p_epoch then greatest(tick_seen, p_tick) else tick_seen end,
        log_head = v_sale.log_head,
        log_size = v_sale.log_size,
        granted_mark = greatest(granted_mark, v_mark),  -- Q4
        updated_at = v_now
    where sale_id = p_sale_id
        and (v_units = 0 or epoch = p_epoch and quantity_sold + v_units <= quantity_available);  -- I1 I12
    if not found or v_over_limit > 0 then
        -- Somebody wrote without the sale's lock. Nothing of this batch happened; a repeat sees what they wrote.
        raise exception 'sale % changed under its lock', p_sale_id using errcode = '40001';
    end if;

    if v_known or v_buyers then
        return query
        select a.word, ms(v_now), ms(v_ends), v_sale.price_cents, v_sale.currency, o
        from unnest(v_words, v_owners) with ordinality as a (word, owner, n)
        left join order_view o on o.order_id = a.owner
        order by a.n;
    else
        return query
        select a.word, ms(v_now), ms(v_ends), v_sale.price_cents, v_sale.currency, null::order_view
        from unnest(v_words) with ordinality as a (word, n)
        order by a.n;
    end if;
end
$$;

-- As in 0004.
create or replace function enter_draw(p_sale_id uuid, p_users text[])
returns table (word text, entry_id bytea, entered_ms bigint) language plpgsql
-- A plan made while the list was empty is kept: it must not be a scan of what has a million rows by now.
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_sale flash_sales;
    v_draw sale_draws;
    v_now timestamptz;
    v_word text;
begin
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);  -- I4: told is stored
    end if;
    select * into v_draw from sale_draws d where d.sale_id = p_sale_id;
    if not found then
        return query select 'no_sale', null::bytea, null::bigint from unnest(p_users);
        return;
    end if;
    select * into v_sale from flash_sales s where s.sale_id = p_sale_id;
    v_word := entry_word(v_sale, v_draw, clock_ms());
    if v_word = 'entered' then
        -- Only while it may matter: after T-0 nothing here makes the closing wait.
        select * into v_draw from sale_draws d where d.sale_id = p_sale_id for share;
        select * into v_sale from flash_sales s where s.sale_id = p_sale_id;
        v_now := clock_ms();  -- whoever waited for the lock may be too late
        v_word := entry_word(v_sale, v_draw, v_now);
    end if;
    if v_word = 'entered' then
        -- In one order, so that two batches with the same buyers do not wait for each other.
        insert into sale_entries (sale_id, user_id, entry_id, entered_at)
        select p_sale_id, a.u, substring(sha256(v_draw.entry_secret || convert_to(a.u, 'UTF8')) for 16), v_now
        from (select distinct u collate "C" as u from unnest(p_users) u order by 1) a
        where not is_blocked(p_sale_id, a.u)
        on conflict do nothing;
    end if;
    return query
    select
        case when b.yes then 'blocked' when e.user_id is not null then 'entered' else v_word end,
        case when not b.yes then e.entry_id end,
        case when not b.yes then ms(e.entered_at) end
    from unnest(p_users) with ordinality as a (u, n)
    left join lateral (
        select * from sale_entries t where t.sale_id = p_sale_id and t.user_id = a.u collate "C" limit 1
    ) e on true
    cross join lateral (select is_blocked(p_sale_id, a.u) as yes offset 0) b  -- asked once, told three times
    order by a.n;
end
$$;

-- As in 0013.
create or replace function create_rehearsal_sale(
    p_rehearsal_id uuid, p_lease uuid, p_shadow_id uuid, p_terms jsonb, p_by text, p_reason text
) returns setof sale_view language plpgsql as $$
declare
    v_of uuid;
begin
    update rehearsals set shadow_sale_id = p_shadow_id
    where rehearsal_id = p_rehearsal_id and lease = p_lease and state = 'running'
        and coalesce(shadow_sale_id, p_shadow_id) = p_shadow_id
    returning sale_id into v_of;
    if not found then
        return;
    end if;
    perform set_config('doorbuster.rehearsal_of', v_of::text, true);
    perform create_sale(p_shadow_id, p_terms, p_by, p_reason, null);
    perform set_config('doorbuster.rehearsal_of', '', true);
    insert into blocklist_pages (sale_id, page, user_ids)
    select p_shadow_id, b.page, b.user_ids from blocklist_pages b where b.sale_id = v_of;
    return query select * from sale_view s where s.sale_id = p_shadow_id;
end
$$;

-- As in 0013, with the pages.
create or replace function remove_rehearsal_sale(p_sale_id uuid) returns boolean language plpgsql as $$
declare
    v_sale flash_sales;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for update;
    if not found then
        return false;
    end if;
    if v_sale.rehearsal_of is null then
        raise exception 'sale % is no rehearsal and stays', p_sale_id using errcode = '23514';
    end if;
    delete from payment_reports where sale_id = p_sale_id;
    delete from payment_breaks where sale_id = p_sale_id;
    delete from reconciliations where sale_id = p_sale_id;
    delete from payments where sale_id = p_sale_id;
    delete from user_sale_eligibility where sale_id = p_sale_id;
    delete from sale_releases where sale_id = p_sale_id;
    delete from sale_orders where sale_id = p_sale_id;
    delete from sale_line_left where sale_id = p_sale_id;
    delete from sale_pulse where sale_id = p_sale_id;
    delete from sale_entries where sale_id = p_sale_id;
    delete from sale_draws where sale_id = p_sale_id;
    delete from blocklist_pages where sale_id = p_sale_id;
    delete from sale_audits where sale_id = p_sale_id;
    delete from sale_actions where sale_id = p_sale_id;
    delete from notices where sale_id = p_sale_id;
    delete from waitlist where sale_id = p_sale_id;
    delete from waitlist_counts where sale_id = p_sale_id;
    delete from sale_alerts where sale_id = p_sale_id;
    delete from sale_samples where sale_id = p_sale_id;
    delete from sample_marks where sale_id = p_sale_id;
    delete from sale_reports where sale_id = p_sale_id;
    delete from sale_steps where sale_id = p_sale_id;
    delete from sale_plans where sale_id = p_sale_id;
    delete from sale_log where sale_id = p_sale_id;
    delete from flash_sales where sale_id = p_sale_id;
    return true;
end
$$;
