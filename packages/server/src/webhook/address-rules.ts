/**
 * Which addresses a webhook may be sent to (protocol 12.8). The one rule for literal hosts and for what names resolve to.
 *
 * IPv4 is judged by what is forbidden: every block that IANA registers as not globally reachable, and the one public
 * address that a cloud answers its own machines on. IPv6 is judged by what is permitted: 2000::/3 without its special
 * blocks. So everything that carries an IPv4 address inside (mapped, compatible, NAT64, 6to4, Teredo) is refused
 * whatever it carries, and so is a block that is assigned tomorrow.
 */
import { BlockList, isIP } from "node:net";

export interface AddressOptions {
  /** Permits 127.0.0.0/8 and ::1 and nothing else: a mapped ::ffff:127.0.0.1 stays forbidden. */
  readonly allowLoopback: boolean;
}

function listOf(family: "ipv4" | "ipv6", subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, family);
  return list;
}

const FORBIDDEN_IPV4 = listOf("ipv4", [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  // Carrier-grade NAT; a cloud's metadata service (100.100.100.200) is here too.
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  // Link-local, with most clouds' metadata service (169.254.169.254).
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  // IETF assignments; another metadata service (192.0.0.192) is here.
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  // Public by number, yet it is the host agent of whatever Azure machine asks.
  ["168.63.129.16", 32],
]);

const GLOBAL_IPV6 = listOf("ipv6", [["2000::", 3]]);
const FORBIDDEN_GLOBAL_IPV6 = listOf("ipv6", [
  // IETF assignments: Teredo, benchmarking, ORCHID and others.
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
]);

const LOOPBACK_IPV4 = listOf("ipv4", [["127.0.0.0", 8]]);
const LOOPBACK_IPV6 = listOf("ipv6", [["::1", 128]]);

/** Whether the address is this machine's own: 127.0.0.0/8 or ::1. */
export function isLoopbackAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return LOOPBACK_IPV4.check(address, "ipv4");
  return family === 6 && !address.includes("%") && LOOPBACK_IPV6.check(address, "ipv6");
}

/** Whether no webhook may reach the address. What is not an address, or has a zone, is forbidden. */
export function isForbiddenAddress(address: string, options: AddressOptions): boolean {
  if (options.allowLoopback && isLoopbackAddress(address)) return false;
  const family = isIP(address);
  if (family === 4) return FORBIDDEN_IPV4.check(address, "ipv4");
  if (family !== 6 || address.includes("%")) return true;
  return !GLOBAL_IPV6.check(address, "ipv6") || FORBIDDEN_GLOBAL_IPV6.check(address, "ipv6");
}
