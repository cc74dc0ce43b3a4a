select airlines.name as airline, count(*) as flights, round(avg(flights.arr_delay), 1) as minutes_late
from {{ source('raw', 'flights') }} as flights
join {{ source('raw', 'airlines') }} as airlines using (carrier)
group by all
