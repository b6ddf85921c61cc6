-- Posts the images named after `--`, one after the other; prints the measurements as JSON.
local requests, turn = {}, 0

function init(paths)
   for _, path in ipairs(paths) do
      local file = assert(io.open(path, "rb"))
      requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "image/jpeg"}, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #requests + 1
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
