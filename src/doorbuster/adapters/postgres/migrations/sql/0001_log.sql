-- The sale's log (I15). The rule is that of domain/chain.py and a test holds the two together:
--     head(0) = sha256(sale_id)      head(n) = sha256(head(n-1) || text(row n))

create function link(p_head bytea, p_first bytea, p_text text) returns bytea language plpgsql immutable as $$
begin
    return sha256(coalesce(p_head, p_first) || convert_to(p_text, 'UTF8'));
end
$$;

-- As a window function: the head after each row of an ordered set.
create aggregate chain(p_first bytea, p_text text) (sfunc = link, stype = bytea);

-- Appends one row per order, or one row without an order when `p_order_ids` holds a single null, and returns the new
-- head and length. The caller holds the lock on the sale's row and stores both there in the same transaction.
create function append_log(
    p_sale flash_sales, p_kind text, p_order_ids uuid[], p_quantities integer[], p_epoch bigint, p_at timestamptz,
    out head bytea, out size bigint
) language plpgsql as $$
declare
    v_sale text := p_sale.sale_id::text;
    v_tail text := '|' || p_epoch || '|' || ms(p_at);
begin
    head := p_sale.log_head;
    size := p_sale.log_size + cardinality(p_order_ids);
    with appended as (
        insert into sale_log (sale_id, seq, kind, order_id, quantity, epoch, at_ms, hash)
        select
            p_sale.sale_id, p_sale.log_size + n, p_kind, order_id, quantity, p_epoch, ms(p_at),
            chain(
                p_sale.log_head,
                v_sale || '|' || p_sale.log_size + n || '|' || p_kind || '|' || coalesce(order_id::text, '') || '|'
                || quantity || v_tail
            ) over (order by n rows unbounded preceding)
        from unnest(p_order_ids, p_quantities) with ordinality as t (order_id, quantity, n)
        order by n
        returning seq, hash
    )
    select hash into head from appended where seq = size;
    head := coalesce(head, p_sale.log_head);
end
$$;
