target_sources(mayfly-unit-tests PRIVATE
  controller_admission_test.cc
  controller_apply_test.cc
  controller_exit_policy_test.cc
  controller_explain_test.cc
  controller_healthcheck_test.cc
  controller_live_test.cc
  controller_overdue_test.cc
  controller_plan_test.cc
  controller_sweep_test.cc
  controller_work_queue_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_controller mayfly_healthcheck)
