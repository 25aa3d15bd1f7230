/**
 * Connections that only ever lead to an address that was judged (protocol 12.8).
 *
 * A name is resolved once for each connection; the answers are judged and the socket is opened to those same answers, so
 * a name that says one thing when judged and another when used (DNS rebinding) has no second chance to speak. TLS still
 * verifies the name, not the address. One forbidden answer refuses the name, even beside permitted ones: such a mixture is
 * either an attack on clients that try the next address or a mistake, and picking the good one would hide both.
 *
 * Loopback, where allowed, is for a host that says so itself (`localhost`, 127.0.0.1): a public name that resolves to
 * 127.0.0.1 is refused always. A kept-alive socket stays at its judged address; its lifetime is bounded by the client.
 *
 * No TLS session is resumed: session tickets are the one part of a handshake through which a receiver could put bytes of
 * its choosing into a later connection.
 */
import { Resolver } from "node:dns/promises";
import { connect as connectTcp, isIP } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { buildConnector } from "undici";
import { isForbiddenAddress } from "./address-rules.ts";
import { codeOf, DeliveryFault } from "./delivery-fault.ts";
import { isLoopbackHost } from "./webhook-url.ts";

/** All addresses of a host name; rejects or gives none when there are none. */
export type HostLookup = (host: string) => Promise<readonly string[]>;

/** Begins a TCP connection to one of the addresses, and to nothing else. */
export type Dial = (addresses: readonly string[], port: number) => Socket;

export interface PinnedConnectorOptions {
  readonly allowLoopback: boolean;
  /** Bounds name resolution, TCP and TLS together. */
  readonly connectMs: number;
  readonly lookup: HostLookup;
  readonly dial: Dial;
  /** Certificate authorities in PEM in place of the system's. */
  readonly tlsCa: string | undefined;
}

/** Addresses of one name that are tried. */
const ADDRESSES_TRIED_MAX = 8;

/**
 * Asks the name servers, the system's or those given as `address:port`, without `getaddrinfo`: that one holds one of the
 * few pool threads, which the WAL's writes need too, for as long as a stranger's name server pleases.
 */
export function dnsLookup(connectMs: number, servers?: readonly string[]): HostLookup {
  const resolver = new Resolver({ timeout: Math.ceil(connectMs / 4), tries: 2 });
  if (servers !== undefined) resolver.setServers(servers);
  return async (host) => {
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const addresses = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const failed = answers.find((answer) => answer.status === "rejected");
    if (addresses.length === 0 && failed !== undefined) throw failed.reason;
    return addresses;
  };
}

/** Tries IPv6 and IPv4 in turn, as the addresses of one receiver are not always all reachable. */
export function dialAny(connectMs: number): Dial {
  return (addresses, port) => {
    const all = addresses.map((address) => ({ address, family: isIP(address) }));
    const [first] = all;
    if (first === undefined) throw new Error("A connection needs at least one address");
    return connectTcp({
      // An address as host is dialled as it is; a list goes through `lookup`, which answers with the judged list alone.
      host: all.length === 1 ? first.address : "judged.invalid",
      port,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: Math.max(10, Math.ceil(connectMs / 4)),
      lookup: (_host, options, callback) => {
        if (options.all === true) callback(null, all);
        else callback(null, first.address, first.family);
      },
    });
  };
}

interface Settle<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** Rejects with the signal's reason as soon as it is aborted. */
function unlessAborted<T>(signal: AbortSignal, begin: (settle: Settle<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => settle.reject(signal.reason as Error);
    const settle: Settle<T> = {
      resolve: (value) => {
        signal.removeEventListener("abort", abort);
        resolve(value);
      },
      reject: (error) => {
        signal.removeEventListener("abort", abort);
        reject(error);
      },
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
    begin(settle);
  });
}

/** The socket once it is open; destroyed when that fails or the signal says stop. */
async function opened<S extends Socket>(
  socket: S,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
): Promise<S> {
  const what = event === "connect" ? "the connection to the receiver failed" : "TLS with the receiver failed";
  try {
    return await unlessAborted<S>(signal, ({ resolve, reject }) => {
      // These listeners stay: an error that nobody listens to would end the process.
      socket.on("error", (error) => reject(new DeliveryFault("connect", `${what} (${codeOf(error)})`)));
      socket.once("close", () => reject(new DeliveryFault("connect", what)));
      socket.once(event, () => resolve(socket));
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

export class PinnedConnector {
  readonly #options: PinnedConnectorOptions;
  readonly #attempts: Set<AbortController> = new Set();

  constructor(options: PinnedConnectorOptions) {
    this.#options = options;
  }

  /** What undici calls for each new connection. */
  readonly connect: buildConnector.connector = (target, callback) => {
    void this.#hand(target, callback);
  };

  /** Ends every attempt that is under way. */
  close(): void {
    for (const attempt of this.#attempts) attempt.abort(new DeliveryFault("aborted", "the server is stopping"));
  }

  async #hand(target: buildConnector.Options, callback: buildConnector.Callback): Promise<void> {
    let socket: Socket;
    try {
      socket = await this.#open(target);
      if (socket.destroyed) throw new DeliveryFault("connect", "the receiver closed the connection");
    } catch (error) {
      callback(error as Error, null);
      return;
    }
    callback(null, socket);
  }

  async #open({ hostname, protocol, port }: buildConnector.Options): Promise<Socket> {
    const { connectMs, dial, tlsCa } = this.#options;
    const attempt = new AbortController();
    const late = new DeliveryFault("timeout", `no connection to the receiver within ${connectMs} ms`);
    const timer = setTimeout(() => attempt.abort(late), connectMs);
    this.#attempts.add(attempt);
    try {
      const addresses = await this.#addressesOf(hostname, attempt.signal);
      const secure = protocol === "https:";
      const plain = dial(addresses, port === "" ? (secure ? 443 : 80) : Number(port));
      const socket = await opened(plain, "connect", attempt.signal);
      if (!secure) return socket;
      const tls = connectTls({
        socket,
        host: hostname,
        servername: isIP(hostname) === 0 ? hostname : "",
        ALPNProtocols: ["http/1.1"],
        // Said aloud, so that no environment variable turns it off.
        rejectUnauthorized: true,
        ...(tlsCa === undefined ? {} : { ca: tlsCa }),
      });
      tls.once("close", () => socket.destroy());
      return await opened(tls, "secureConnect", attempt.signal);
    } finally {
      clearTimeout(timer);
      this.#attempts.delete(attempt);
    }
  }

  /** The host's addresses, of which each is permitted. */
  async #addressesOf(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const allowLoopback = this.#options.allowLoopback && isLoopbackHost(host);
    const addresses = await this.#resolve(host, signal);
    if (addresses.length === 0) throw new DeliveryFault("dns", "the receiver's host name has no address");
    if (addresses.some((address) => isForbiddenAddress(address, { allowLoopback }))) {
      throw new DeliveryFault("rejected", "the receiver's host is at a private, local or reserved address");
    }
    return addresses.slice(0, ADDRESSES_TRIED_MAX);
  }

  async #resolve(host: string, signal: AbortSignal): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (host === "localhost") return ["127.0.0.1", "::1"];
    return unlessAborted<readonly string[]>(signal, ({ resolve, reject }) => {
      this.#options.lookup(host).then(resolve, (error: unknown) => {
        reject(new DeliveryFault("dns", `the receiver's host name could not be resolved (${codeOf(error)})`));
      });
    });
  }
}
