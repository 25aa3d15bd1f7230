/** OPTIONS: what browsers may send. */
import { REQUEST_HEADER } from "@coldbrook/core";
import type { Exchange } from "./exchange.ts";

const ALLOWED_HEADERS = [...Object.values(REQUEST_HEADER), "authorization"].join(", ");
const DAY_SECONDS = "86400";

export function preflight(exchange: Exchange, methods: string): void {
  exchange.empty(204, [
    "Allow",
    methods,
    "Access-Control-Allow-Methods",
    methods,
    "Access-Control-Allow-Headers",
    ALLOWED_HEADERS,
    "Access-Control-Max-Age",
    DAY_SECONDS,
    "Cache-Control",
    "no-store",
  ]);
}
