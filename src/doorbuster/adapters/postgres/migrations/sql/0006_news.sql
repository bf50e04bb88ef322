-- News: what gateways say by themselves.
select 1;
