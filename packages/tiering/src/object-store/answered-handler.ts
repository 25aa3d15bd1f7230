/** The SDK's transport, which may be given the answer to a request: then nothing is sent, and the SDK only reads the answer. */
import { Readable } from "node:stream";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import type { Answer } from "./range-gets.ts";

type Handle = NodeHttpHandler["handle"];
/** A request as the SDK gives it to its transport. */
export type HandlerRequest = Parameters<Handle>[0];

/** Options of one request. */
export interface AnsweredOptions extends NonNullable<Parameters<Handle>[1]> {
  readonly answered?: Answer;
}

/** A body that is here already. As a stream it yields its bytes once. */
export class WholeBody extends Readable {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    super({
      read(): void {
        if (bytes.length > 0) this.push(bytes);
        this.push(null);
      },
    });
    this.bytes = bytes;
  }
}

export class AnsweredHandler extends NodeHttpHandler {
  override async handle(request: HandlerRequest, options: AnsweredOptions = {}): ReturnType<Handle> {
    if (options.answered === undefined) return await super.handle(request, options);
    const { status: statusCode, headers, body } = options.answered;
    return { response: { statusCode, headers: { ...headers }, body: new WholeBody(body) } };
  }
}

export function isHandlerRequest(value: unknown): value is HandlerRequest {
  return typeof value === "object" && value !== null && "hostname" in value && "headers" in value && "path" in value;
}
