# A fleet in a real Slurm cluster of three node names; skipped where Slurm or namespaces are missing.
add_executable(ledger_audit ${CMAKE_CURRENT_SOURCE_DIR}/slurm/ledger_audit.c)
target_link_libraries(ledger_audit PRIVATE rollout_store m)
if(NOT SANITIZE)
  add_test(NAME integration.slurm WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/slurm/run $<TARGET_FILE_DIR:weir> $<TARGET_FILE:fixture_share>
            $<TARGET_FILE:ledger_audit>)
  set_tests_properties(integration.slurm PROPERTIES LABELS integration TIMEOUT 180 SKIP_RETURN_CODE 77)
endif()

add_test(NAME unit.rendered WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/slurm/rendered $<TARGET_FILE_DIR:weir>)
set_tests_properties(unit.rendered PROPERTIES LABELS unit TIMEOUT 60)
