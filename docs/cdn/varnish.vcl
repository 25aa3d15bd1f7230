# Coldbrook behind Varnish 6.0 or newer. README.md beside this file says why each rule is here.
# Fill in: @ORIGIN_HOST@ and @ORIGIN_PORT@, where Coldbrook listens.
vcl 4.1;

import std;

backend origin {
    .host = "@ORIGIN_HOST@";
    .port = "@ORIGIN_PORT@";
    # A long-poll says nothing for --long-poll-ms (30 s), an SSE connection may be silent for --sse-ms (60 s).
    .first_byte_timeout = 90s;
    .between_bytes_timeout = 90s;
}

sub vcl_recv {
    if (req.method != "GET") {
        # HEAD too: it is never stored, and Varnish would ask for the whole body to answer it.
        return (pass);
    }
    if (req.http.Authorization || req.http.Cookie) {
        # What one reader may see is not for the others, unless you authorise here. Then unset the two and go on.
        return (pass);
    }
    # Clients that write the same parameters in another order share an object. The origin gets the sorted URL as well, so
    # that what is stored is what was asked for.
    set req.url = std.querysort(req.url);
    if (req.url ~ "[?&](live=sse|offset=now)(&|$)" ||
        req.url ~ "[?&]live=long-poll&(.*&)?offset=(-1|0{16}_0{16})(&|$)") {
        # An event stream is one reader's; `now` is another place at each moment; and what a long-poll gets from a start
        # that no stream has minted may not be stored.
        return (pass);
    }
    if (req.url !~ "[?&]live=") {
        # A cursor means nothing to a catch-up read, but clients go on sending the one that they have.
        set req.url = regsub(req.url, "[?]cursor=[0-9]+&", "?");
    }
    return (hash);
}

sub vcl_backend_response {
    # Nothing is served past its max-age: stale here would mean a stream that was deleted, closed or continued.
    set beresp.grace = 0s;
    set beresp.keep = 0s;

    if (bereq.uncacheable) {
        return (deliver);
    }
    if (beresp.http.Cache-Control ~ "(?i)private" || beresp.http.Set-Cookie || beresp.http.Vary == "*") {
        set beresp.uncacheable = true;
        set beresp.ttl = 120s;
        return (deliver);
    }
    if (beresp.http.Cache-Control ~ "(?i)no-cache|no-store" || beresp.ttl <= 0s) {
        # One answer for all who were waiting for it, and for nobody who comes later: Varnish compares the time of the
        # request with the end of the answer's life, so a millisecond is enough. A hit-for-miss object would send each
        # reader at a tail to the origin alone; a ttl of zero would send them one after the other. It is kept until all of
        # them have been woken, and a tail longer: its ETag is compared at the next use, and an unchanged one costs a 304.
        set beresp.ttl = 1ms;
        set beresp.keep = 10s;
        if (beresp.status == 200 && beresp.http.ETag) {
            set beresp.keep = 60s;
        }
        return (deliver);
    }
    if (beresp.status == 200 && beresp.http.ETag) {
        # Past its max-age it is asked for again with If-None-Match.
        set beresp.keep = 60s;
    }
    return (deliver);
}

sub vcl_backend_error {
    # For all who were waiting, who would else find out one after the other.
    set beresp.ttl = 1ms;
    set beresp.grace = 0s;
    set beresp.keep = 10s;
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    set beresp.http.Content-Type = "text/plain";
    set beresp.body = "The origin does not answer. Try again.";
    return (deliver);
}

sub vcl_deliver {
    # For measuring; remove it when nobody looks.
    if (obj.uncacheable) {
        set resp.http.X-Cache = "PASS";
    } elsif (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}
