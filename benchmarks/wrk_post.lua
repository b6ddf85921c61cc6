-- Posts the pictures that are named behind `--`, one after the other; prints what was measured as JSON.
-- With REQUESTS in the environment it ends after so many.
local requests, turn, sent = {}, 0, 0
local limit = tonumber(os.getenv("REQUESTS") or "")

function init(paths)
   for _, path in ipairs(paths) do
      local file = assert(io.open(path, "rb"))
      requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "image/jpeg"}, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #requests + 1
   sent = sent + 1
   if limit and sent > limit then wrk.thread:stop() end
   return requests[turn]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "longest": %d, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
