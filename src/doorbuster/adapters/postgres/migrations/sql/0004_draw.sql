-- Draws: what is promised when one is created, who entered, and what was drawn.
--
-- Locks: the sale's row where one of its marks changes, then the draw's row. Entries are taken and given back under a
-- share lock of the draw's row, which closing the list takes alone: an entry is on the list exactly if its buyer was
-- told so and did not take it back (I10).

create table sale_draws (
    sale_id uuid primary key references flash_sales,
    -- published with the order, not before
    seed bytea not null check (octet_length(seed) = 32),
    -- keeps entry ids from being traced to buyers; never published
    entry_secret bytea not null check (octet_length(entry_secret) = 32),
    rules text not null,
    -- published from the first moment
    commitment bytea not null check (commitment = sha256(seed || convert_to(rules, 'UTF8'))),
    closed_at timestamptz,
    -- ids of entries taken off the list at its closing because their accounts were blocked; ascending
    removed bytea[] not null default '{}',
    root bytea check (octet_length(root) = 32),
    -- hex digits; null: none was promised, or it could not be had
    beacon_value text check (beacon_value ~ '^([0-9a-f]{2}){1,64}$'),
    beacon_note text not null default '',
    -- for the entries in the order of their ids: the number each was drawn to, 4 bytes each, little-endian
    ranks bytea,
    constraint root_is_of_closed check (root is null or closed_at is not null),
    constraint order_is_under_root check (ranks is null or root is not null)
);
-- Random bytes do not shrink.
alter table sale_draws alter column ranks set storage external;

create table sale_entries (
    sale_id uuid not null references sale_draws,
    user_id text collate "C" not null check (length(user_id) between 1 and 200),
    entry_id bytea not null check (octet_length(entry_id) = 16),
    entered_at timestamptz not null,
    -- Q1: one entry per buyer
    primary key (sale_id, user_id)
);
-- The list in its order; with the buyer in it, a line is written without looking at the rows.
create unique index sale_entries_list on sale_entries (sale_id, entry_id) include (user_id);

-- What was promised, and what was published, stays: for a hand-written statement too (I10).
create trigger sale_draws_kept before delete or truncate on sale_draws
    execute function refuse_change('a draw can be checked for ever');
create trigger sale_draws_promised before update on sale_draws
    for each row when (
        (new.sale_id, new.seed, new.entry_secret, new.rules, new.commitment)
            is distinct from (old.sale_id, old.seed, old.entry_secret, old.rules, old.commitment)
        or old.closed_at is not null
            and (new.closed_at, new.removed) is distinct from (old.closed_at, old.removed)
        or old.root is not null and new.root is distinct from old.root
        or old.ranks is not null and (new.ranks, new.beacon_value, new.beacon_note)
            is distinct from (old.ranks, old.beacon_value, old.beacon_note)
    )
    execute function refuse_change('what a draw has promised or published stays (I10)');
create trigger flash_sales_draw_promised before update of mode, beacon_round on flash_sales
    for each row when (
        (new.mode = 'draw') <> (old.mode = 'draw')
        or old.mode = 'draw' and new.beacon_round is distinct from old.beacon_round
    )
    execute function refuse_change('it is part of what a draw has promised (I10)');

-- The text of domain/draw.py; a test holds the two together.
create function draw_rules(p_sale_id uuid, p_beacon_round bigint) returns text language sql immutable
return '{"version":1,"sale_id":"' || p_sale_id || '","beacon_round":' || coalesce(p_beacon_round::text, 'null') || ','
    || '"commitment":"SHA-256 of the 32 bytes of the seed followed by this text in UTF-8. || joins bytes below.",'
    || '"entries":"An entry id is 16 bytes. The list holds every id that was entered before the start and not removed,'
    || ' each once, ascending as bytes. Every removed id is published with a reason.",'
    || '"root":"MTH is the Merkle tree hash of RFC 6962, section 2.1: the empty list gives SHA-256 of nothing, a leaf'
    || ' SHA-256(0x00 || leaf), a node SHA-256(0x01 || left || right). E is MTH over the list cut into leaves of 64 ids,'
    || ' the last one shorter. R is MTH over the removed, ascending by id, each leaf an id || its reason in UTF-8.'
    || ' root = SHA-256(0x01 || E || R).",'
    || '"beacon":"If beacon_round is a number, the beacon value is the 32 bytes of randomness of that round of drand'
    || ' quicknet, chain hash 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971, fetched after the root'
    || ' was fixed.",'
    || '"order":"The key of an entry is HMAC-SHA256 under the seed of root || beacon value || entry id. The entries'
    || ' ascending by key as bytes have the numbers 1, 2, 3 and so on; equal keys ascending by id.",'
    || '"fallback":"If beacon_round is null the beacon value is empty. If the value of the round cannot be had in time'
    || ' it is empty too, and the publication says so: then nobody outside can rule out that the order was known before'
    || ' the list was closed."}';

-- 32 bytes that nobody can guess: four times the 122 strongly random bits of an id.
create function secret_bytes() returns bytea language sql volatile
return sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);

-- A draw promises its order in the transaction that creates the sale.
create function promise_draw() returns trigger language plpgsql as $$
declare
    v_seed bytea := secret_bytes();
    v_rules text := draw_rules(new.sale_id, new.beacon_round);
begin
    insert into sale_draws (sale_id, seed, entry_secret, rules, commitment)
    values (new.sale_id, v_seed, secret_bytes(), v_rules, sha256(v_seed || convert_to(v_rules, 'UTF8')));
    return null;
end
$$;

create trigger flash_sales_draw after insert on flash_sales
    for each row when (new.mode = 'draw')
    execute function promise_draw();

-- Draws made by an earlier schema promise from now on.
insert into sale_draws (sale_id, seed, entry_secret, rules, commitment)
select s.sale_id, s.seed, secret_bytes(), s.rules, sha256(s.seed || convert_to(s.rules, 'UTF8'))
from (
    select sale_id, secret_bytes() as seed, draw_rules(sale_id, beacon_round) as rules
    from flash_sales where mode = 'draw'
    offset 0  -- a seed is made once for its row
) s;

create view draw_view as
select
    d.sale_id, d.commitment, d.rules, d.seed, d.entry_secret, ms(d.closed_at) as closed_ms, s.draw_size as size,
    d.removed, d.root, d.beacon_value, d.beacon_note, ms(s.drawn_at) as drawn_ms, d.ranks
from sale_draws d
join flash_sales s using (sale_id);

create or replace function open_entries(p_sale_id uuid) returns bigint language sql stable
return (
    select count(*)
    from sale_entries e
    where e.sale_id = p_sale_id
        and exists (select from sale_draws d where d.sale_id = p_sale_id and d.closed_at is null)
);

-- Whether entries are taken at `p_now`; the caller holds the draw's row, or needs no certainty.
create function entry_word(p_sale flash_sales, p_draw sale_draws, p_now timestamptz) returns text
language sql immutable
return case
    when p_draw.closed_at is not null or p_now >= p_sale.start_time or p_sale.status in ('ENDED', 'CANCELLED')
        then 'closed'
    when p_now < p_sale.entry_opens_at then 'not_open'
    else 'entered'
end;

-- Answers every buyer in the order given. Words and their precedence: blocked, entered (now or earlier), then why not.
create function enter_draw(p_sale_id uuid, p_users text[])
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
        where not exists (select from sale_blocklist b where b.sale_id = p_sale_id and b.user_id = a.u)
        on conflict do nothing;
    end if;
    return query
    select
        case when b.user_id is not null then 'blocked' when e.user_id is not null then 'entered' else v_word end,
        case when b.user_id is null then e.entry_id end,
        case when b.user_id is null then ms(e.entered_at) end
    from unnest(p_users) with ordinality as a (u, n)
    left join lateral (
        select * from sale_entries t where t.sale_id = p_sale_id and t.user_id = a.u collate "C" limit 1
    ) e on true
    left join lateral (
        select * from sale_blocklist t where t.sale_id = p_sale_id and t.user_id = a.u collate "C" limit 1
    ) b on true
    order by a.n;
end
$$;

-- False if it is too late; who is not on the list is off it.
create function withdraw_entry(p_sale_id uuid, p_user_id text) returns boolean language plpgsql as $$
declare
    v_sale flash_sales;
    v_draw sale_draws;
begin
    if not exists (select from sale_entries e where e.sale_id = p_sale_id and e.user_id = p_user_id) then
        return true;
    end if;
    select * into v_draw from sale_draws d where d.sale_id = p_sale_id for share;
    select * into v_sale from flash_sales s where s.sale_id = p_sale_id;
    if entry_word(v_sale, v_draw, clock_ms()) = 'closed' then
        return false;
    end if;
    delete from sale_entries e where e.sale_id = p_sale_id and e.user_id = p_user_id;
    return true;
end
$$;

-- From T-0: nobody enters any more, blocked accounts are off the list, and the numbers up to its size are taken.
-- No row before T-0, of a sale that was over before its list was closed, and of what is no draw. Idempotent.
create function close_draw(p_sale_id uuid) returns setof draw_view language plpgsql as $$
declare
    v_sale flash_sales;
    v_draw sale_draws;
    v_now timestamptz;
    v_removed bytea[];
    v_size integer;
begin
    perform make_it_last();
    select * into v_sale from flash_sales s where s.sale_id = p_sale_id for no key update;
    select * into v_draw from sale_draws d where d.sale_id = p_sale_id for no key update;
    if not found then
        return;
    end if;
    v_now := clock_ms();
    if v_draw.closed_at is null then
        if v_now < v_sale.start_time or v_sale.status in ('ENDED', 'CANCELLED') then
            return;
        end if;
        with gone as (
            delete from sale_entries e
            using sale_blocklist b
            where e.sale_id = p_sale_id and b.sale_id = p_sale_id and b.user_id = e.user_id
            returning e.entry_id
        )
        select coalesce(array_agg(g.entry_id order by g.entry_id), '{}') into v_removed from gone g;
        select count(*) into v_size from sale_entries e where e.sale_id = p_sale_id;
        update sale_draws d set closed_at = v_now, removed = v_removed where d.sale_id = p_sale_id;
        update flash_sales s
        set draw_size = v_size, number_high = greatest(s.number_high, v_size), updated_at = v_now
        where s.sale_id = p_sale_id;
    end if;
    return query select * from draw_view d where d.sale_id = p_sale_id;
end
$$;

-- The first one stays.
create function store_draw_root(p_sale_id uuid, p_root bytea) returns setof draw_view language plpgsql as $$
begin
    perform make_it_last();
    -- Written in any case: what a repeat reports is as durable as its own commit.
    update sale_draws d set root = coalesce(d.root, p_root) where d.sale_id = p_sale_id and d.closed_at is not null;
    return query select * from draw_view d where d.sale_id = p_sale_id;
end
$$;

-- The order and what it was made of, once: the first one stays.
create function store_draw_order(p_sale_id uuid, p_beacon_value text, p_beacon_note text, p_ranks bytea)
returns setof draw_view language plpgsql as $$
declare
    v_sale flash_sales;
begin
    perform make_it_last();
    select * into v_sale from flash_sales s where s.sale_id = p_sale_id for no key update;
    update sale_draws d
    set beacon_value = p_beacon_value, beacon_note = p_beacon_note, ranks = p_ranks
    where d.sale_id = p_sale_id and d.root is not null and d.ranks is null
        and octet_length(p_ranks) = 4 * v_sale.draw_size;
    if found then
        perform note_action(
            p_sale_id, 'draw', 'drawer', p_beacon_note, jsonb_build_object('entries', v_sale.draw_size)
        );
    end if;
    update flash_sales s
    set drawn_at = coalesce(s.drawn_at, clock_ms()),
        -- The image knows nothing of it, and who was to write it anew may be gone.
        rebuild_reason = case when s.drawn_at is null then 'the draw was held' else s.rebuild_reason end,
        updated_at = clock_ms()
    where s.sale_id = p_sale_id
        and exists (select from sale_draws d where d.sale_id = p_sale_id and d.ranks is not null);
    return query select * from draw_view d where d.sale_id = p_sale_id;
end
$$;

-- Who waits in the line of a draw that was held, and at which number. One pass over the list: the ranks are read once
-- (the subquery makes one piece of them in memory), and the n-th entry has the n-th four bytes.
create or replace function drawn_line(p_sale_id uuid) returns table (user_id text, number bigint) language sql stable
as $$
    select l.user_id, l.number
    from (
        select
            e.user_id,
            get_byte(d.ranks, e.at) + (get_byte(d.ranks, e.at + 1) << 8) + (get_byte(d.ranks, e.at + 2) << 16)
                + (get_byte(d.ranks, e.at + 3)::bigint << 24) as number,
            d.ended_number, d.number_max
        from (
            select t.user_id, 4 * (row_number() over (order by t.entry_id))::integer - 4 as at
            from sale_entries t where t.sale_id = p_sale_id
        ) e
        cross join (
            select
                f.ranks || ''::bytea as ranks, s.ended_number,
                s.quantity_available + s.standby_limit::bigint as number_max
            from sale_draws f
            join flash_sales s using (sale_id)
            where f.sale_id = p_sale_id and s.drawn_at is not null
            offset 0
        ) d
    ) l
    where l.number > l.ended_number and (l.number_max is null or l.number <= l.number_max)
$$;
