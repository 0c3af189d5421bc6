import type { Target } from './contender.ts'
import { curlPut } from './curl.ts'
import type { Payload } from './payload.ts'
import { sendSlice } from './send-slice.ts'

/** The whole payload in one PUT. */
export async function putPayload(target: Target, payload: Payload): Promise<void> {
  if (payload.written) {
    await curlPut(target, payload.file, payload.sizeBytes)
  } else {
    await sendSlice('PUT', target, { payload, offset: 0, length: payload.sizeBytes })
  }
}
