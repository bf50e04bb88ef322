-- The block list in pages: a million accounts in ten seconds. A row for each account cost PostgreSQL thirteen, most of
-- it for the rows' own heads and their index; who blocked whom and why is said once for a list (sale_actions), not in
-- each row of it.

-- Of about thirty accounts with a million on the list: a look-up reads one row of a kilobyte, and a change writes the
-- pages that it touches. Two to the fifteenth, for ever: the number is in the rows.
create function blocklist_page(p_user_id text) returns integer language sql immutable parallel safe
return (hashtextextended(p_user_id, 0) & 32767)::integer;

create table blocklist_pages (
    sale_id uuid not null,
    page integer not null,
    user_ids text[] not null check (cardinality(user_ids) > 0),  -- each once, ascending by their bytes
    primary key (sale_id, page)
);
-- Names do not get smaller by being compressed, only slower.
alter table blocklist_pages alter column user_ids set storage external;

insert into blocklist_pages (sale_id, page, user_ids)
select sale_id, blocklist_page(user_id), array_agg(user_id order by user_id) from sale_blocklist group by 1, 2;
drop table sale_blocklist;

-- An account a row, for whoever wants all of them; gates of the release before read it.
create view sale_blocklist as
select p.sale_id, u.user_id collate "C" as user_id from blocklist_pages p, unnest(p.user_ids) as u (user_id);

create function is_blocked(p_sale_id uuid, p_user_id text) returns boolean language sql stable
return exists (
    select from blocklist_pages p
    where p.sale_id = p_sale_id and p.page = blocklist_page(p_user_id) and p_user_id = any(p.user_ids)
);

-- What one page has and another has not; null is a page of nobody.
create function only_in(p_these text[], p_others text[]) returns setof text language sql immutable parallel safe
begin atomic
    select u from unnest(p_these) u where p_others is null
    union all
    (select u from unnest(p_these) u where p_others is not null except select unnest(p_others));
end;

-- Replaces the block list; no row for a sale that is not there. The settings keep a million accounts in memory, and have
-- the plan made for the list that came. Nobody else changes the pages while the sale is locked.
create or replace function block_users(p_sale_id uuid, p_user_ids text[], p_by text, p_reason text)
returns table (added text[], removed text[]) language plpgsql
set work_mem = '256MB' set plan_cache_mode = force_custom_plan set jit = off
as $$
begin
    perform from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return;
    end if;
    with wanted as (
        select blocklist_page(w) as page, array_agg(distinct w collate "C") as user_ids
        from unnest(p_user_ids) w
        group by 1
    ),
    changed as materialized (
        select page, w.user_ids as wanted, p.user_ids as had
        from wanted w
        full join (select * from blocklist_pages where sale_id = p_sale_id) p using (page)
        where w.user_ids is distinct from p.user_ids
    ),
    emptied as (
        delete from blocklist_pages p using changed c
        where p.sale_id = p_sale_id and p.page = c.page and c.wanted is null
    ),
    written as (
        insert into blocklist_pages (sale_id, page, user_ids)
        select p_sale_id, c.page, c.wanted from changed c where c.wanted is not null
        on conflict (sale_id, page) do update set user_ids = excluded.user_ids
    )
    select
        coalesce((select array_agg(u order by u collate "C") from changed c, only_in(c.wanted, c.had) u), '{}'),
        coalesce((select array_agg(u order by u collate "C") from changed c, only_in(c.had, c.wanted) u), '{}')
    into added, removed;
    if cardinality(added) + cardinality(removed) > 0 then
        perform note_action(
            p_sale_id, 'blocklist', p_by, p_reason,
            jsonb_build_object('added', cardinality(added), 'removed', cardinality(removed))
        );
    end if;
    return next;
end
$$;
