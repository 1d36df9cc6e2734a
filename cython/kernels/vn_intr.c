/* SPDX-License-Identifier: BSD-3-Clause
 * A library of its own, which needs nothing but libc: whatever becomes global with it would stand
 * before the libraries of every Python module that is imported later.
 */
#include "vn_intr.h"

#include "vn_compat.h"

VN_EXPORT struct vn_intr_calls vn_intr_calls;

VN_EXPORT int
rte_intr_callback_register(const struct rte_intr_handle *handle, rte_intr_callback_fn fn, void *arg)
{
	return vn_intr_calls.add(handle, fn, arg);
}

VN_EXPORT int
rte_intr_callback_unregister(const struct rte_intr_handle *handle, rte_intr_callback_fn fn,
			     void *arg)
{
	return vn_intr_calls.remove(handle, fn, arg);
}

VN_EXPORT int
rte_intr_callback_unregister_pending(const struct rte_intr_handle *handle, rte_intr_callback_fn fn,
				     void *arg, rte_intr_unregister_callback_fn then)
{
	return vn_intr_calls.remove_pending(handle, fn, arg, then);
}
