-- Sends the requests of a file in turn: FILE STAMP RATE, a rate of 0 for as fast as they are answered.
-- A line is method, path, Accept and body, with tabs between; {n} in a body becomes a new number.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
local MONOTONIC, PLACE = 1, "#########"
local asks, n, rate, due = {}, 0, 0, nil

local function now()
  local at = ffi.new("moment")
  ffi.C.clock_gettime(MONOTONIC, at)
  return tonumber(at.s) + tonumber(at.ns) / 1e9
end

function init(args)
  rate = tonumber(args[3])
  for line in io.lines(args[1]) do
    local method, path, accept, body = line:match("^(%S+)\t(%S+)\t(%S+)\t(.*)$")
    wrk.headers["Accept"] = accept
    wrk.headers["Content-Type"] = body ~= "" and "application/json" or nil
    local whole = wrk.format(method, path, nil, (body:gsub("{n}", args[2] .. PLACE)))
    local from, to = whole:find(PLACE, 1, true)
    asks[#asks + 1] = from and { whole:sub(1, from - 1), whole:sub(to + 1) } or { whole }
  end
end

function request()
  local ask = asks[n % #asks + 1]
  n = n + 1
  return ask[2] and ask[1] .. string.format("%09d", n) .. ask[2] or ask[1]
end

function delay()
  if rate == 0 then return 0 end
  due = (due or now()) + 1 / rate
  return math.max(0, math.floor((due - now()) * 1000))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"answers":%d,"errors":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
