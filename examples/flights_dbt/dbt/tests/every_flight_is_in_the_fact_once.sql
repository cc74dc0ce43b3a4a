select loaded.n as loaded, fact.n as in_the_fact
from (select count(*) as n from {{ source('raw', 'flights') }}) as loaded,
    (select count(*) as n from {{ ref('fct_flights') }}) as fact
where loaded.n <> fact.n
